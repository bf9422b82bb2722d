#include "app/desktop/panels/patching/column.h"

#include <QLabel>
#include <QStackedWidget>
#include <QVBoxLayout>
#include <algorithm>

#include "app/desktop/panels/result_pane.h"
#include "app/desktop/theme/theme.h"
#include "app/desktop/views/label_text.h"
#include "core/base/json.h"

namespace microtome::desktop {
namespace {

QLabel* line(QWidget* parent, const char* role) {
  auto* label = new QLabel(parent);
  label->setTextFormat(Qt::PlainText);
  label->setProperty("role", QString::fromLatin1(role));
  label->setSizePolicy(QSizePolicy::Ignored, QSizePolicy::Fixed);
  return label;
}

// How many prompts a stored run had.
int64_t promptsOf(const QString& context) {
  const Result<Json> json = parse_json(context.toStdString(), "context");
  if (!json || !json.value().is_object()) return 0;
  const auto at = json.value().find("prompt_count");
  return at != json.value().end() && at->is_number_unsigned() ? at->get<int64_t>() : 0;
}

// Zero of the numbers: where corrupted values go into a clean run, nothing done is 1.
double neutralOf(const GridRequest& request) {
  return request.analysis == gridAnalyses().front() && request.noise() ? 1 : 0;
}

}  // namespace

PatchingColumn::PatchingColumn(Panel& panel, int slot, QWidget* parent)
    : QWidget(parent), session_(panel.session()), slot_(slot) {
  auto* column = new QVBoxLayout(this);
  column->setContentsMargins(0, 0, 0, 0);
  column->setSpacing(kGrid / 2);
  auto* head = new QHBoxLayout;
  head->setSpacing(kGrid);
  name_ = line(this, "section");
  name_->setObjectName(QStringLiteral("model_name"));
  name_->setSizePolicy(QSizePolicy::Maximum, QSizePolicy::Fixed);
  caption_ = line(this, "muted");
  caption_->setObjectName(QStringLiteral("grid_caption"));
  head->addWidget(name_);
  head->addWidget(caption_, 1);
  column->addLayout(head);
  stack_ = new QStackedWidget(this);
  empty_ = new EmptyState({}, {}, {}, stack_);
  map_ = new HeatMapView(stack_);
  map_->setObjectName(QStringLiteral("patching_map"));
  stack_->addWidget(empty_);
  stack_->addWidget(map_);
  column->addWidget(stack_, 1);
  panel.adopt(map_);
  connect(empty_, &EmptyState::pressed, this, &PatchingColumn::pressed);
  const auto pick = [this](qint64 row, qint64 col) {
    if (shown_.grid && row >= 0 && col >= 0) Q_EMIT cellPicked(shown_.grid->cellAt(row, col, array_, look_));
  };
  connect(map_, &HeatMapView::cellClicked, this, pick);
  connect(map_, &HeatMapView::cellActivated, this, pick);

  connect(&session_, &Session::runPreview, this,
          [this](qint64 job, const QString&, int, const std::shared_ptr<const AnalysisResult>& soFar) {
            if (job_ == 0 || job != job_) return;
            // What was seen before stays until the first cells are there.
            if (shown_.run || !(shown_.request == wanted_) || shown_.model != session_.model(slot_)) {
              shown_ = {nullptr, wanted_, nullptr, session_.model(slot_), wantedCommand_, wantedPrompts_};
              range_ = {0, 0};
            }
            take(soFar);
          });
  connect(&session_, &Session::runFinished, this, [this](qint64 job, const QString&, int, const RunViewPtr& run) {
    if (job_ == 0 || job != job_) return;
    job_ = 0;
    shown_ = {shown_.grid, wanted_, run, session_.model(slot_), wantedCommand_, wantedPrompts_};
    state_ = State::kDone;
    range_ = {0, 0};
    take(std::shared_ptr<const AnalysisResult>(run, &run->result));
    set(State::kDone);
  });
  connect(&session_, &Session::runFailed, this, [this](qint64 job, const QString&, int, const QString& why, bool cancelled) {
    if (job_ == 0 || job != job_) return;
    job_ = 0;
    if (!cancelled) {
      fail(tr("This did not work"), why);
      return;
    }
    if (!hasGrid()) say(tr("Cancelled"), tr("What was computed is kept: Run goes on from there."), tr("Run"));
    set(State::kCancelled);
  });
}

void PatchingColumn::set(State state) {
  state_ = state;
  caption();
  Q_EMIT stateChanged();
}

// ---- runs ----------------------------------------------------------------------------------------------------------

bool PatchingColumn::start(const RunRequest& request, const GridRequest& wanted) {
  const qint64 job = session_.run(request, QStringLiteral("patching-%1").arg(slot_));
  if (job == 0) return false;
  job_ = job;
  loading_ = 0;
  wanted_ = wanted;
  wantedCommand_ = session_.commandFor(request);
  const std::shared_ptr<const Dataset>& set = session_.prompts().bySlot[slot_];
  wantedPrompts_ = request.onePrompt ? 1 : set ? static_cast<int64_t>(set->pairs.size()) : 0;
  if (!hasGrid() || state_ == State::kFailed) {
    shown_ = {};
    map_->clear();
    say(tr("Starting…"), tr("The grid fills as its cells are computed."), {});
  }
  this->set(State::kRunning);
  return true;
}

void PatchingColumn::cancel() {
  if (job_ != 0) session_.cancel(job_);
}

void PatchingColumn::load(qint64 run) {
  if (run == 0 || job_ != 0 || loading_ == run || (shown_.run && shown_.run->record.id == run)) return;
  loading_ = run;
  if (!hasGrid()) say(tr("Reading…"), tr("Run %1 is read from the project.").arg(run), {});
  const app::ModelPtr model = session_.model(slot_);
  session_.loadRun(run, this, [this, run, model](const RunViewPtr& read) {
    if (loading_ != run) return;
    loading_ = 0;
    if (!read || job_ != 0 || session_.model(slot_) != model) {
      if (!hasGrid()) say(tr("Run %1 can't be read").arg(run), tr("Press Run to compute it again."), tr("Run"));
      return;
    }
    const RunRecord& r = read->record;
    shown_ = {nullptr, requestOfRecord(r), read, model, QString::fromStdString(r.command.empty() ? r.spec.command : r.command),
              promptsOf(read->context)};
    range_ = {0, 0};
    state_ = State::kDone;
    take(std::shared_ptr<const AnalysisResult>(read, &read->result));
    set(State::kDone);
  });
}

void PatchingColumn::forget() {
  // A run of a model that was closed goes on; what it computes is in the project.
  job_ = loading_ = 0;
  shown_ = {};
  map_->clear();
  cell_ = {};
  stack_->setCurrentWidget(empty_);
  set(State::kEmpty);
  Q_EMIT gridChanged();
}

void PatchingColumn::say(const QString& headline, const QString& sentence, const QString& button) {
  if (hasGrid()) return;
  empty_->setText(headline, sentence, button);
  stack_->setCurrentWidget(empty_);
}

void PatchingColumn::fail(const QString& headline, const QString& sentence) {
  shown_ = {};
  map_->clear();
  say(headline, sentence, {});
  set(State::kFailed);
  Q_EMIT gridChanged();
}

void PatchingColumn::take(std::shared_ptr<const AnalysisResult> result) {
  auto grid = EffectGrid::read(std::move(result), shown_.model ? layersOf(shown_.model->facts()) : std::vector<LayerKind>(),
                               neutralOf(shown_.request));
  if (!grid) {
    if (state_ == State::kDone) fail(tr("Nothing to show"), tr("What is stored of this run has no grid: run it again from Run."));
    return;
  }
  shown_.grid = std::move(grid);
  stack_->setCurrentWidget(map_);
  draw();
  caption();
  Q_EMIT gridChanged();
}

// ---- what is shown -------------------------------------------------------------------------------------------------

void PatchingColumn::setPicture(const QString& array, int look) {
  if (arrayName_ == array && look_ == look) return;
  arrayName_ = array;
  look_ = look;
  range_ = {0, 0};
  if (hasGrid()) draw();
}

void PatchingColumn::draw() {
  const EffectGrid& grid = *shown_.grid;
  array_ = std::max(0, grid.arrayNamed(arrayName_));
  HeatMapData data = grid.picture(array_, look_);
  const auto [lo, hi] = scaleOf(data.look, data.values->data(), static_cast<int64_t>(data.values->size()));
  // Colours must not change with every cell that comes in.
  const bool grows = state_ == State::kRunning && range_.first < range_.second;
  range_ = grows ? std::pair(std::min(range_.first, lo), std::max(range_.second, hi)) : std::pair(lo, hi);
  const HeatMapData& old = map_->data();
  const bool same = old.rows == data.rows && old.cols == data.cols && old.label == data.label && old.unit == data.unit &&
                    old.look == data.look && old.rowAxis.labels == data.rowAxis.labels && old.colAxis.labels == data.colAxis.labels &&
                    old.rowAxis.kinds == data.rowAxis.kinds;
  if (same) map_->setValues(data.values);
  else map_->setData(data);
  map_->setScale(range_.first, range_.second);
  map_->setTitle(labelText(grid.title(), 200) + (shown_.model ? QStringLiteral(" · ") + labelText(shown_.model->facts().name, 80) : QString()));
  map_->setCommand(shown_.command);
  map_->setSource(shown_.run ? shown_.run->record.id : 0, QString::fromStdString(grid.artifact()));
  showCell(cell_);
}

void PatchingColumn::showCell(const PatchCell& cell) {
  cell_ = cell;
  if (!shown_.grid) return;
  const auto [row, col] = shown_.grid->placeOf(cell, look_);
  map_->setSelectedCell(row, col);
}

void PatchingColumn::setRemark(const QString& remark, bool named) {
  remark_ = remark;
  const app::ModelPtr model = session_.model(slot_);
  name_->setText(model ? labelText(model->facts().name, 40) : QString());
  name_->setVisible(named && model);
  caption();
}

void PatchingColumn::caption() {
  QStringList parts;
  if (shown_.grid) {
    const GridRequest& r = shown_.request;
    const app::AnalysisFacts* a = session_.findAnalysis(r.analysis);
    if (a) parts << labelText(a->info.title, 60);
    for (const char* name : {"site", "direction", "kind"})
      if (const std::string value = r.param(name); !value.empty()) parts << labelText(value, 40);
    const std::string metric = shown_.grid->metric().empty() ? r.param("metric") : shown_.grid->metric();
    if (!metric.empty() && metric != "auto") parts << nameText(metric);
    if (shown_.prompts > 0) parts << (shown_.prompts == 1 ? tr("1 prompt") : tr("%1 prompts").arg(shown_.prompts));
    if (shown_.run && shown_.run->record.id != 0) parts << tr("run %1").arg(shown_.run->record.id);
    if (state_ == State::kRunning && !shown_.run) parts << tr("filling…");
    if (state_ == State::kCancelled && !shown_.run) parts << tr("cancelled: what was computed is kept, Run goes on from there");
    if (!remark_.isEmpty()) parts << remark_;
  }
  const QString text = parts.join(QStringLiteral(" · "));
  caption_->setText(text);
  caption_->setToolTip(tipText(text));
}

}  // namespace microtome::desktop
