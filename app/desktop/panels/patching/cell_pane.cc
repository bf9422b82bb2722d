#include "app/desktop/panels/patching/cell_pane.h"

#include <QLabel>
#include <QScrollArea>
#include <QStackedWidget>
#include <QTabBar>
#include <QToolButton>
#include <QVBoxLayout>
#include <cmath>

#include "app/desktop/theme/theme.h"
#include "app/desktop/views/flow_layout.h"
#include "app/desktop/views/label_text.h"
#include "app/desktop/views/plain_line.h"
#include "app/desktop/views/table_view.h"
#include "app/desktop/views/text_view.h"

namespace microtome::desktop {
namespace {

QString signedText(double value) { return (value > 0 ? QStringLiteral("+") : QString()) + numberText(value, 3); }

// A button whose text is cut where there is no room, and never widens the row.
class Elided : public QToolButton {
 public:
  using QToolButton::QToolButton;
  QString whole;
  QSize sizeHint() const override { return {fontMetrics().horizontalAdvance(whole) + 3 * kGrid, QToolButton::sizeHint().height()}; }
  QSize minimumSizeHint() const override { return {4 * kGrid, QToolButton::minimumSizeHint().height()}; }

 protected:
  void resizeEvent(QResizeEvent* event) override {
    QToolButton::resizeEvent(event);
    setText(fontMetrics().elidedText(whole, Qt::ElideRight, std::max(0, width() - 3 * kGrid)));
  }
};

}  // namespace

CellPane::CellPane(Panel& panel, QWidget* parent) : QWidget(parent), session_(panel.session()), runs_(new CellRuns(panel.session(), this)) {
  auto* column = new QVBoxLayout(this);
  column->setContentsMargins(0, 0, 0, 0);
  column->setSpacing(kGrid / 2);
  auto* row = new QHBoxLayout;
  row->setSpacing(kGrid);
  tabs_ = new QTabBar(this);
  tabs_->setObjectName(QStringLiteral("patching_tabs"));
  tabs_->setDrawBase(false);
  tabs_->setExpanding(false);
  tabs_->setUsesScrollButtons(false);
  tabs_->setStyleSheet(QStringLiteral("QTabBar::tab { padding: 2px 12px 4px 12px; }"));
  tabs_->addTab(tr("Next tokens"));
  tabs_->addTab(tr("Strongest cells"));
  tabs_->addTab(tr("Findings"));
  auto* finding = new Elided(this);
  finding_ = finding;
  finding_->setObjectName(QStringLiteral("patching_finding"));
  finding_->setAutoRaise(true);
  finding_->setFocusPolicy(Qt::TabFocus);
  finding_->setSizePolicy(QSizePolicy::Maximum, QSizePolicy::Fixed);
  row->addWidget(tabs_);
  row->addStretch(1);
  row->addWidget(finding_, 100);
  column->addLayout(row);

  pages_ = new QStackedWidget(this);
  auto* page = new QWidget(pages_);
  auto* box = new QVBoxLayout(page);
  box->setContentsMargins(0, 0, 0, 0);
  box->setSpacing(2);
  sentence_ = new QLabel(page);
  sentence_->setObjectName(QStringLiteral("cell_sentence"));
  detail_ = new QLabel(page);
  detail_->setObjectName(QStringLiteral("cell_detail"));
  detail_->setProperty("role", QStringLiteral("muted"));
  for (QLabel* label : {sentence_, detail_}) {
    label->setTextFormat(Qt::PlainText);
    label->setTextInteractionFlags(Qt::TextSelectableByMouse);
    label->setWordWrap(true);
    label->setSizePolicy(QSizePolicy::Ignored, QSizePolicy::Minimum);
    box->addWidget(label);
  }
  scroll_ = new QScrollArea(page);
  scroll_->setWidgetResizable(true);
  scroll_->setHorizontalScrollBarPolicy(Qt::ScrollBarAlwaysOff);
  scroll_->setAccessibleName(tr("Next tokens"));
  tokens_ = new TokenColumns(scroll_);
  tokens_->setObjectName(QStringLiteral("patching_tokens"));
  scroll_->setWidget(tokens_);
  box->addWidget(scroll_, 1);
  table_ = new TableView(pages_);
  table_->setFilterVisible(false);
  table_->setEmptyText(tr("The strongest cells are listed once the run has finished."));
  findings_ = new TextView(pages_);
  findings_->setEmptyText(tr("What stands out is said here once the run has finished."));
  pages_->addWidget(page);
  pages_->addWidget(table_);
  pages_->addWidget(findings_);
  column->addWidget(pages_, 1);
  for (View* view : {static_cast<View*>(tokens_), static_cast<View*>(table_), static_cast<View*>(findings_)}) panel.adopt(view);

  connect(tabs_, &QTabBar::currentChanged, pages_, &QStackedWidget::setCurrentIndex);
  connect(finding_, &QToolButton::clicked, this, [this] { tabs_->setCurrentIndex(2); });
  const auto pick = [this](qint64 r) {
    const PatchCell cell = has_ && shown_.grid ? shown_.grid->cellOfRow(r) : PatchCell();
    if (cell.layer >= 0 && table_->isVisible()) Q_EMIT cellWanted(cell);
  };
  connect(table_, &TableView::rowSelected, this, pick);
  connect(table_, &TableView::rowActivated, this, [this, pick](qint64 r) {
    pick(r);
    tabs_->setCurrentIndex(0);
  });
  connect(runs_, &CellRuns::changed, this, &CellPane::compose);
  show(nullptr, 0, {}, PromptScope::kOther, false);
}

int CellPane::page() const { return tabs_->currentIndex(); }
void CellPane::setPage(int page) { tabs_->setCurrentIndex(page); }

std::vector<View*> CellPane::views() const {
  if (!has_) return {};
  if (page() == 1) return {table_};
  if (page() == 2) return {findings_};
  return tokens_->columns().empty() ? std::vector<View*>() : std::vector<View*>{tokens_};
}

int64_t CellPane::inPrompt(const EffectGrid& grid, int64_t pos, int64_t tokens) {
  if (grid.width() == 0) return -1;
  const int64_t at = pos - (grid.width() - tokens);
  return at < 0 ? -2 : at;
}

void CellPane::show(const ShownGrid* shown, int slot, const PatchCell& cell, PromptScope scope, bool named) {
  has_ = shown && shown->grid;
  shown_ = has_ ? *shown : ShownGrid();
  slot_ = slot;
  cell_ = cell;
  scope_ = scope;
  named_ = named;
  setEnabled(has_);
  const PromptPair* pair = has_ ? session_.currentPair(slot) : nullptr;
  if (pair && shown_.model) {
    QString why;
    runs_->ask(shown_.model, *pair, shown_.grid->holds(cell) ? intervention(*pair, &why) : std::nullopt);
  }
  compose();
  if (listed_ != shown_.grid || !has_) showFindings();
}

// ---- the intervention ----------------------------------------------------------------------------------------------

std::optional<app::CellRequest> CellPane::intervention(const PromptPair& pair, QString* why) const {
  const auto no = [why](const QString& sentence) {
    *why = sentence;
    return std::nullopt;
  };
  const GridRequest& r = shown_.request;
  if (scope_ == PromptScope::kOther) return no(tr("This grid was computed on other prompts: press Run for those of the window."));
  if (ablation() && !(r.param("kind") == "resample" && r.param("resample_from") == "corrupted"))
    return no(tr("A run ablated by %1 is measured, its next tokens are not kept. With kind “resample” they are shown here.")
                  .arg(r.param("kind") == "zero" ? tr("zero") : r.param("kind") == "mean" ? tr("a mean") : tr("another prompt")));
  if (ablation() && r.param("all_positions") == "true" && shown_.grid->heads() == 0)
    return no(tr("All positions of a layer are changed together here; next tokens are shown for grids by position."));
  if (pair.corrupted_ids.empty()) return no(tr("The selected prompt has no corrupted text: type one in Prompts."));
  if (pair.corrupted_ids.size() != pair.clean_ids.size())
    return no(tr("Clean and corrupted text differ in length: make both equally long in tokens."));
  app::CellRequest out;
  out.site = r.param("site");
  out.direction = fromClean() ? "noise" : "denoise";
  out.layer = cell_.layer;
  out.head = cell_.head;
  out.pos = inPrompt(*shown_.grid, cell_.pos, static_cast<int64_t>(pair.clean_ids.size()));
  if (out.pos == -2) return no(tr("The selected prompt begins after this position: choose a cell further right."));
  return out;
}

QString CellPane::place(const PromptPair* pair) const {
  QString out = cell_.head >= 0 ? tr("Layer %1, head %2").arg(cell_.layer).arg(cell_.head) : tr("Layer %1").arg(cell_.layer);
  if (cell_.pos >= 0) {
    const int64_t at = pair ? inPrompt(*shown_.grid, cell_.pos, static_cast<int64_t>(pair->clean_ids.size())) : -2;
    const Tokenizer* t = shown_.model ? shown_.model->tokenizer() : nullptr;
    if (at >= 0 && at < static_cast<int64_t>(pair->clean_ids.size()) && scope_ != PromptScope::kOther) {
      const int64_t id = pair->clean_ids[static_cast<size_t>(at)];
      const QString word = t && id >= 0 && id < t->vocab_size() ? visibleToken(QString::fromStdString(t->display(id)).left(40)) : QStringLiteral("#%1").arg(id);
      out += tr(" at “%1” (position %2)").arg(word).arg(at);
    } else {
      out += tr(" at position %1 from the end").arg(shown_.grid->width() - cell_.pos);
    }
  }
  return named_ && shown_.model ? labelText(shown_.model->facts().name, 60) + QStringLiteral(", ") + out.left(1).toLower() + out.mid(1) : out;
}

// ---- what is said --------------------------------------------------------------------------------------------------

void CellPane::compose() {
  const PromptPair* pair = has_ ? session_.currentPair(slot_) : nullptr;
  composeTokens(pair);
  composeWords(pair);
}

void CellPane::composeTokens(const PromptPair* pair) {
  if (!has_) {
    tokens_->setColumns({});
    return;
  }
  const bool onGrid = shown_.grid->holds(cell_);
  const auto from = [this](const QString& title, const CellRun& run) {
    TokenColumn c;
    c.title = title;
    c.tokens = run.tokens;
    c.answers = runs_->answers();
    if (!run.problem.isEmpty()) c.remark = run.problem;
    else if (!run.known) c.remark = tr("computing…");
    return c;
  };
  TokenColumn clean = from(tr("clean"), runs_->clean()), corrupted = from(tr("corrupted"), runs_->corrupted());
  if (!pair) clean.remark = corrupted.remark = tr("No prompt is selected: choose one in Prompts.");
  else if (pair->corrupted_ids.empty()) corrupted.remark = tr("There is no corrupted text.");
  TokenColumn here = from(ablation() ? tr("ablated here") : tr("patched here"), runs_->patched());
  QString why;
  if (onGrid) {
    here.detail = cell_.head >= 0 ? tr("L%1 H%2").arg(cell_.layer).arg(cell_.head) : tr("L%1").arg(cell_.layer);
    if (!pair || !intervention(*pair, &why)) here.remark = pair ? why : clean.remark;
  } else {
    here.remark = tr("Click a cell of the grid, or go there with the arrow keys.");
  }
  if (ablation() && onGrid && !here.remark.isEmpty() && !why.isEmpty()) {
    here.title = shown_.prompts == 1 ? tr("on this prompt") : shown_.prompts > 0 ? tr("mean over %1 prompts").arg(shown_.prompts) : tr("mean over prompts");
    for (int i = 0; i < shown_.grid->arrays(); ++i) {
      const NamedArray& a = shown_.grid->array(i);
      here.facts.push_back({nameText(a.name), numberText(shown_.grid->value(i, cell_)) + (a.unit.empty() ? QString() : QLatin1Char(' ') + labelText(a.unit, 20))});
    }
  } else if (here.remark.isEmpty()) {
    here.against = fromClean() ? 0 : 2;
  }
  const bool pairless = ablation() && pair && pair->corrupted_ids.empty();
  std::vector<TokenColumn> columns = {std::move(clean), std::move(here)};
  if (!pairless) columns.push_back(std::move(corrupted));
  tokens_->setColumns(std::move(columns));
  tokens_->setTitle(tr("Next tokens, %1").arg(onGrid ? place(pair) : tr("no cell")));
  tokens_->setCommand(shown_.command);
  tokens_->setSource(shown_.run ? shown_.run->record.id : 0, QString::fromStdString(shown_.grid->artifact()));
}

QString CellPane::metricText(const PromptPair& pair) const {
  QStringList parts;
  const EffectGrid& grid = *shown_.grid;
  const QString unit = [&] {
    for (const SummaryItem& item : grid.result().summary)
      if (item.name == "clean_" + grid.metric()) return labelText(item.unit, 20);
    return QString();
  }();
  const auto number = [&](double v) { return numberText(v, 3) + (unit.isEmpty() ? QString() : QLatin1Char(' ') + unit); };
  const CellRun &base = fromClean() ? runs_->clean() : runs_->corrupted(), &other = fromClean() ? runs_->corrupted() : runs_->clean();
  const auto metric = [&](const CellRun& run) {
    return run.known ? CellRuns::metricOf(grid.metric(), run.tokens, runs_->answers()) : std::nan("");
  };
  QString why;
  const double before = metric(base), after = runs_->patched().known && intervention(pair, &why) ? metric(runs_->patched()) : std::nan("");
  const bool attribution = shown_.request.analysis == QLatin1String("attribution_patching");
  const int64_t index = scope_ == PromptScope::kAll ? session_.selection().prompt() : 0;
  if (attribution && std::isfinite(before) && std::isfinite(after)) {
    const double says = grid.onPrompt("effect_prompts", cell_, index);
    if (std::isfinite(says))
      parts << tr("On this prompt attribution says %1, patching gives %2%3").arg(signedText(says), signedText(after - before), unit.isEmpty() ? QString() : QLatin1Char(' ') + unit);
  } else if (std::isfinite(before) && std::isfinite(after)) {
    QString text = tr("%1 on this prompt %2 → %3").arg(nameText(grid.metric()), numberText(before, 3), number(after));
    if (const double end = metric(other); std::isfinite(end)) text += tr(" (%1 %2)").arg(fromClean() ? tr("corrupted") : tr("clean"), numberText(end, 3));
    parts << text;
  }
  const double value = grid.value(0, cell_);
  if (std::isfinite(value)) {
    const NamedArray& a = grid.array(0);
    const QString shownUnit = a.unit.empty() ? QString() : QLatin1Char(' ') + labelText(a.unit, 20);
    parts << (shown_.prompts == 1 ? tr("%1 %2%3") : shown_.prompts > 0 ? tr("mean %1 over %4 prompts %2%3") : tr("mean %1 %2%3"))
                 .arg(nameText(a.name), numberText(value, 3), shownUnit)
                 .replace(QStringLiteral("%4"), QString::number(shown_.prompts));
  } else {
    parts << tr("no value in the grid: the layer lacks the site, or the cell was not computed yet");
  }
  QString out = parts.join(QStringLiteral("; "));
  return out.left(1).toUpper() + out.mid(1);
}

void CellPane::composeWords(const PromptPair* pair) {
  QString text, detail;
  if (!has_) {
    text = tr("Click a cell to see what the model then says.");
  } else if (!shown_.grid->holds(cell_)) {
    text = tr("Click a cell, or go there with the arrow keys, to see what the model then says.");
  } else {
    const QString site = nameText(shown_.request.param("site"));
    text = place(pair) + QStringLiteral(": ");
    if (!ablation()) text += fromClean() ? tr("corrupted %1 put into the clean run").arg(site) : tr("clean %1 put into the corrupted run").arg(site);
    else if (shown_.request.param("kind") == "zero") text += tr("%1 of the clean run set to zero").arg(site);
    else if (shown_.request.param("kind") == "mean") text += tr("%1 of the clean run replaced by its mean").arg(site);
    else text += tr("%1 of the clean run replaced by that of %2").arg(site, shown_.request.param("resample_from") == "corrupted" ? tr("the corrupted one") : tr("another prompt"));
    QString why;
    const CellRun &base = fromClean() ? runs_->clean() : runs_->corrupted(), &now = runs_->patched();
    if (pair && intervention(*pair, &why) && base.known && now.known) {
      const auto chance = [this](const CellRun& run) {
        double sum = 0;
        for (size_t i = 0; i < runs_->answers() && i < run.tokens.asked.size(); ++i) sum += run.tokens.asked[i].probability;
        return sum;
      };
      if (runs_->answers() > 0) {
        const QString word = runs_->answers() == 1 && !now.tokens.asked.empty()
                                 ? QStringLiteral("“%1”").arg(visibleToken(QString::fromStdString(now.tokens.asked[0].text).left(40)))
                                 : tr("answers");
        text += tr(" → P(%1) %2 → %3").arg(word, shareText(chance(base)), shareText(chance(now)));
      } else if (!now.tokens.top.empty() && !base.tokens.top.empty()) {
        text += tr(" → “%1” %2 comes first").arg(visibleToken(QString::fromStdString(now.tokens.top[0].text).left(40)), shareText(now.tokens.top[0].probability));
      }
    }
    if (pair) detail = metricText(*pair);
  }
  sentence_->setText(text);
  detail_->setText(detail);
  detail_->setVisible(!detail.isEmpty());
}

// ---- table and findings --------------------------------------------------------------------------------------------

void CellPane::showFindings() {
  listed_ = shown_.grid;
  const std::shared_ptr<const Table> table = has_ ? shown_.grid->table() : nullptr;
  table_->setTable(table);
  table_->setCommand(shown_.command);
  table_->setSource(shown_.run ? shown_.run->record.id : 0, table ? QString::fromStdString(table->name) : QString());
  table_->setTitle(tr("Strongest cells") + (shown_.model ? QStringLiteral(" · ") + labelText(shown_.model->facts().name, 60) : QString()));
  QStringList lines, first;
  if (has_) {
    const AnalysisResult& r = shown_.grid->result();
    for (const std::string& f : r.findings) first << labelText(f, 400);
    lines = first;
    for (const SummaryItem& s : r.summary) {
      QString text = tr("%1: %2").arg(nameText(s.name), numberText(s.value)) + (s.unit.empty() ? QString() : QLatin1Char(' ') + labelText(s.unit, 20));
      if (std::isfinite(s.low) && std::isfinite(s.high)) text += tr(" (95 % interval %1 … %2, %3 prompts)").arg(numberText(s.low), numberText(s.high)).arg(s.n);
      lines << text;
    }
    for (const std::string& w : r.warnings) lines << tr("Note: %1").arg(labelText(w, 400));
  }
  findings_->setPlain(lines.join(QLatin1Char('\n')));
  findings_->setTitle(tr("Findings"));
  findings_->setCommand(shown_.command);
  findings_->setSource(shown_.run ? shown_.run->record.id : 0, QString());
  tabs_->setTabText(2, first.size() > 1 ? tr("Findings (%1)").arg(first.size()) : tr("Findings"));
  auto* button = static_cast<Elided*>(finding_);
  button->whole = first.value(0);
  button->setText(button->fontMetrics().elidedText(button->whole, Qt::ElideRight, std::max(0, button->width() - 3 * kGrid)));
  button->setToolTip(tipText(first.join(QStringLiteral("\n"))));
  button->setAccessibleName(button->whole);
  button->setVisible(!first.isEmpty());
  button->updateGeometry();
}

}  // namespace microtome::desktop
