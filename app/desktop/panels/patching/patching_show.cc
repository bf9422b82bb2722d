// What the Patching panel shows: choices, one scale, the difference, the cell below.
#include "app/desktop/panels/patching/patching_panel.h"

#include <QCheckBox>
#include <QComboBox>
#include <QDataStream>
#include <QHBoxLayout>
#include <QLabel>
#include <QShortcut>
#include <QSplitter>
#include <QStackedWidget>
#include <algorithm>

#include "app/desktop/theme/theme.h"
#include "app/desktop/views/flow_layout.h"
#include "app/desktop/views/label_text.h"

namespace microtome::desktop {
namespace {

// More rows than this are no longer told apart one by one.
constexpr int64_t kManyRows = 64;

}  // namespace

void PatchingPanel::gridChanged() {
  fillChoices();
  shareScale();
  showDifference();
  showCell();
  showStates();
}

void PatchingPanel::fillChoices() {
  const PatchingColumn* lead = leading();
  if (!lead || !lead->hasGrid()) return;
  const EffectGrid& grid = *lead->shown().grid;
  filling_ = true;
  QStringList arrays;
  for (int i = 0; i < grid.arrays(); ++i) arrays << QString::fromStdString(grid.array(i).name);
  QStringList there;
  for (int i = 0; i < array_->count(); ++i) there << array_->itemData(i).toString();
  if (arrays != there) {
    array_->clear();
    for (int i = 0; i < grid.arrays(); ++i) {
      array_->addItem(withUnit(nameText(grid.array(i).name), labelText(grid.array(i).unit, 20)), arrays[i]);
      array_->setItemData(i, tipText(labelText(grid.array(i).help, 400)), Qt::ToolTipRole);
    }
  }
  array_->setCurrentIndex(std::max(0, array_->findData(wantedArray_)));
  const int64_t heads = grid.threeAxes() ? grid.heads() : 0;
  if (heads_->count() != (heads > 0 ? heads + 2 : 0)) {
    heads_->clear();
    if (heads > 0) {
      heads_->addItem(tr("every head"), kEveryHead);
      heads_->addItem(tr("strongest"), kStrongestHead);
      heads_->setItemData(1, tr("Of every layer and position the head that does most"), Qt::ToolTipRole);
      for (int h = 0; h < heads; ++h) heads_->addItem(tr("head %1").arg(h), h);
    }
  }
  if (heads > 0) {
    const int fitting = grid.layers() * heads > kManyRows ? kStrongestHead : kEveryHead;
    const int at = heads_->findData(wantedHeads_ == -100 ? fitting : wantedHeads_);
    heads_->setCurrentIndex(at >= 0 ? at : heads_->findData(fitting));
  }
  headsCell_->setVisible(heads > 0);
  arrayCell_->setVisible(grid.arrays() > 1);
  filling_ = false;
  for (PatchingColumn* c : columns_) c->setPicture(array_->currentData().toString(), heads > 0 ? heads_->currentData().toInt() : kEveryHead);
}

void PatchingPanel::applyPicture() {
  for (PatchingColumn* c : columns_) c->setPicture(array_->currentData().toString(), heads_->count() > 0 ? heads_->currentData().toInt() : kEveryHead);
  shareScale();
  showDifference();
}

// A colour means the same in both grids where they hold the same kind of number.
void PatchingPanel::shareScale() {
  std::vector<PatchingColumn*> grids;
  for (PatchingColumn* c : columns_)
    if (c->hasGrid() && used(c->slot())) grids.push_back(c);
  const bool one = grids.size() == 2 && grids[0]->map()->data().label == grids[1]->map()->data().label &&
                   grids[0]->map()->data().unit == grids[1]->map()->data().unit && grids[0]->map()->data().look == grids[1]->map()->data().look;
  for (PatchingColumn* c : grids) {
    std::pair<double, double> scale = c->range();
    if (one) scale = {std::min(grids[0]->range().first, grids[1]->range().first), std::max(grids[0]->range().second, grids[1]->range().second)};
    c->setScale(scale.first, scale.second);
  }
}

void PatchingPanel::showDifference() {
  difference_->setVisible(session().comparing());
  differenceGrid_.reset();
  const bool both = session().comparing() && columns_[0]->hasGrid() && columns_[1]->hasGrid();
  const auto alike = [this] {
    GridRequest a = columns_[0]->shown().request, b = columns_[1]->shown().request;
    a.prompts = b.prompts = {};        // each tokenizer has its own
    return a == b;
  };
  std::shared_ptr<const EffectGrid> grid;
  if (both && alike()) grid = EffectGrid::difference(*columns_[0]->shown().grid, *columns_[1]->shown().grid);
  difference_->setEnabled(grid != nullptr);
  difference_->setToolTip(grid || !both ? tr("A third picture: left model minus right model, cell by cell")
                                        : tr("The two grids differ in shape or in what was asked: there is no difference cell by cell"));
  const bool show = grid && difference_->isChecked();
  differenceCell_->setVisible(show);
  if (!show) return;
  differenceGrid_ = grid;
  const int array = std::max(0, grid->arrayNamed(array_->currentData().toString()));
  HeatMapData data = grid->picture(array, columns_[0]->look());
  const QString names = tr("%1 − %2").arg(labelText(session().model(0)->facts().name, 40), labelText(session().model(1)->facts().name, 40));
  data.label = tr("difference of %1").arg(data.label);
  data.help = names + QStringLiteral(": ") + data.help;
  const HeatMapData& old = differenceMap_->data();
  if (old.rows == data.rows && old.cols == data.cols && old.label == data.label && old.rowAxis.labels == data.rowAxis.labels &&
      old.colAxis.labels == data.colAxis.labels) {
    const auto [lo, hi] = scaleOf(data.look, data.values->data(), static_cast<int64_t>(data.values->size()));
    differenceMap_->setValues(data.values);
    differenceMap_->setScale(lo, hi);
  } else {
    differenceMap_->setData(data);
  }
  differenceName_->setText(tr("Difference"));
  differenceName_->setToolTip(tipText(names));
  differenceMap_->setTitle(tr("%1: %2").arg(data.label, names));
  differenceMap_->setCommand(columns_[0]->shown().command);
}

// ---- the cell ------------------------------------------------------------------------------------------------------

const PatchingColumn* PatchingPanel::leading() const {
  const int slot = std::clamp(session().selection().model(), 0, Session::kSlots - 1);
  for (const int i : {slot, 1 - slot})
    if (used(i) && columns_[i]->hasGrid()) return columns_[i];
  return nullptr;
}

PatchCell PatchingPanel::cellFor(const PatchingColumn& column) const {
  const EffectGrid& grid = *column.shown().grid;
  PatchCell fixed;
  fixed.layer = layer_ < grid.layers() ? layer_ : grid.layers() - 1;
  if (grid.heads() > 0) fixed.head = std::min(head_, grid.heads() - 1);
  if (grid.width() > 0 && fromEnd_ > 0) fixed.pos = std::max<int64_t>(0, grid.width() - fromEnd_);
  if (grid.holds(fixed)) return fixed;
  // What is left open is where most happens; not while that changes with every cell.
  return column.state() == PatchingColumn::State::kRunning ? PatchCell() : grid.strongest(fixed);
}

void PatchingPanel::showCell() {
  if (!isVisible()) return scheduleRefresh();
  for (PatchingColumn* c : columns_)
    if (c->hasGrid()) c->showCell(cellFor(*c));
  const PatchingColumn* lead = leading();
  if (differenceGrid_ && lead) {
    const auto [row, col] = differenceGrid_->placeOf(cellFor(*columns_[0]), columns_[0]->look());
    differenceMap_->setSelectedCell(row, col);
  }
  pane_->show(lead ? &lead->shown() : nullptr, lead ? lead->slot() : 0, lead ? cellFor(*lead) : PatchCell(),
              lead ? stored_.scopeOf(lead->slot(), lead->shown().request.prompts) : PromptScope::kOther, session().comparing());
}

void PatchingPanel::pick(int slot, const PatchCell& cell) {
  const PatchingColumn& column = *columns_[slot];
  if (!column.hasGrid() || !column.shown().grid->holds(cell)) return;
  picking_ = true;
  layer_ = cell.layer;
  head_ = cell.head;
  fromEnd_ = cell.pos >= 0 ? column.shown().grid->width() - cell.pos : 0;
  Selection& s = session().selection();
  s.setModel(slot);
  s.setHead(static_cast<int>(cell.layer), static_cast<int>(cell.head));
  if (const PromptPair* pair = session().currentPair(slot); pair && cell.pos >= 0) {
    const auto tokens = static_cast<int64_t>(pair->clean_ids.size());
    if (const int64_t at = CellPane::inPrompt(*column.shown().grid, cell.pos, tokens); at >= 0 && at < tokens) s.setPosition(static_cast<int>(at));
  }
  picking_ = false;
  showCell();
}

// ---- for reports, and between starts -------------------------------------------------------------------------------

std::vector<View*> PatchingPanel::views() const {
  std::vector<View*> out;
  for (const PatchingColumn* c : columns_)
    if (used(c->slot()) && c->hasGrid()) out.push_back(c->map());
  if (differenceGrid_) out.push_back(differenceMap_);
  for (View* v : pane_->views()) out.push_back(v);
  return out;
}

QByteArray PatchingPanel::saveState() const {
  QByteArray out;
  QDataStream stream(&out, QIODevice::WriteOnly);
  stream << quint8(1) << controls_->analysis() << wantedArray_ << qint32(wantedHeads_) << difference_->isChecked() << splitter_->saveState()
         << grids_->saveState() << qint32(pane_->page());
  return out;
}

void PatchingPanel::restoreState(const QByteArray& state) {
  QDataStream stream(state);
  quint8 version = 0;
  QString analysis, array;
  qint32 heads = 0, page = 0;
  bool difference = false;
  QByteArray all, grids;
  stream >> version >> analysis >> array >> heads >> difference >> all >> grids >> page;
  if (stream.status() != QDataStream::Ok || version != 1) return;
  if (gridAnalyses().contains(analysis)) controls_->set(analysis, {}, false);
  wantedArray_ = array.left(200);
  wantedHeads_ = heads;
  difference_->setChecked(difference);
  splitter_->restoreState(all);
  grids_->restoreState(grids);
  pane_->setPage(std::clamp<int>(page, 0, 2));
}

}  // namespace microtome::desktop
