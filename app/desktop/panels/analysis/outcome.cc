#include "app/desktop/panels/analysis/outcome.h"

#include <QLabel>
#include <QSplitter>
#include <QVBoxLayout>

#include "app/desktop/panels/job_strip.h"
#include "app/desktop/session/run_facts.h"
#include "app/desktop/theme/theme.h"
#include "app/desktop/views/label_text.h"

namespace microtome::desktop {

AnalysisOutcome::AnalysisOutcome(Panel& panel, QWidget* parent) : QWidget(parent), session_(panel.session()), panel_(panel) {
  auto* column = new QVBoxLayout(this);
  column->setContentsMargins(0, 0, 0, 0);
  splitter_ = new QSplitter(Qt::Horizontal, this);
  splitter_->setChildrenCollapsible(false);
  column->addWidget(splitter_);
  for (int i = 0; i < Session::kSlots; ++i) {
    Side& side = sides_[i];
    side.page = new QWidget(splitter_);
    auto* page = new QVBoxLayout(side.page);
    page->setContentsMargins(i == 0 ? 0 : kGrid, kGrid / 2, 0, 0);
    page->setSpacing(kGrid / 2);
    side.name = new QLabel(side.page);
    side.name->setObjectName(QStringLiteral("outcome_%1").arg(i));
    side.name->setProperty("role", QStringLiteral("section"));
    side.name->setTextFormat(Qt::PlainText);
    side.name->setSizePolicy(QSizePolicy::Ignored, QSizePolicy::Preferred);
    side.strip = new JobStrip(session_, side.page);
    side.result = new ResultPane(panel, side.page);
    page->addWidget(side.name);
    page->addWidget(side.strip);
    page->addWidget(side.result, 1);
    side.page->setVisible(i == 0);
  }
  pairUp(sides_[0].result, sides_[1].result);
  sides_[0].result->forget(tr("Nothing was run here yet: choose an analysis, set it up and press Run."));

  connect(&session_, &Session::runPreview, this,
          [this](qint64 job, const QString&, int slot, const std::shared_ptr<const AnalysisResult>& soFar) {
            if (Side* side = sideOf(job)) side->result->showPreview(soFar, slot, side->command);
          });
  connect(&session_, &Session::runFinished, this, [this](qint64 job, const QString&, int, const RunViewPtr& run) {
    Side* side = sideOf(job);
    if (!side) return;
    side->job = 0;
    side->result->showRun(run, side->slot);
    tell(*side, run->record.id != 0 ? tr("run %1, done").arg(run->record.id) : tr("done"));
    // A person asked for it: what is selected follows. Of two models the left one.
    if (run->record.id != 0 && side == &sides_[0]) session_.selection().setRun(run->record.id);
  });
  connect(&session_, &Session::runFailed, this, [this](qint64 job, const QString&, int, const QString& sentence, bool cancelled) {
    Side* side = sideOf(job);
    if (!side) return;
    side->job = 0;
    tell(*side, cancelled ? tr("cancelled") : tr("failed"));
    side->result->forget(sentence);
    if (!cancelled) panel_.showProblem(sentence);
  });
}

AnalysisOutcome::Side* AnalysisOutcome::sideOf(qint64 job) {
  for (Side& side : sides_)
    if (job != 0 && side.job == job) return &side;
  return nullptr;
}

void AnalysisOutcome::tell(Side& side, const QString& state) {
  const QString text = title_ + QStringLiteral(" · ") + side.model + QStringLiteral(" · ") + state;
  side.name->setText(text);
  side.name->setToolTip(tipText(text));
}

bool AnalysisOutcome::start(const std::vector<RunRequest>& requests) {
  std::vector<std::pair<RunRequest, qint64>> started;
  for (const RunRequest& request : requests)
    if (const qint64 job = session_.run(request)) started.push_back({request, job});
  if (started.empty()) return false;
  const app::AnalysisFacts* a = session_.findAnalysis(requests.front().analysis);
  title_ = a ? labelText(a->info.title, 120) : requests.front().analysis;
  for (size_t i = 0; i < Session::kSlots; ++i) {
    Side& side = sides_[i];
    side.page->setVisible(i < started.size());
    side.job = 0;
    if (i >= started.size()) continue;
    side.job = started[i].second;
    side.slot = started[i].first.slot;
    side.command = session_.commandFor(started[i].first);
    side.model = labelText(session_.model(side.slot)->facts().name, 80);
    tell(side, tr("under way"));
    side.result->forget(tr("The result appears here as it is computed."));
    side.strip->setJob(side.job, side.model);
  }
  sides_[0].page->layout()->setContentsMargins(0, kGrid / 2, started.size() > 1 ? kGrid : 0, 0);
  splitter_->setSizes({1000, 1000});
  return true;
}

std::vector<View*> AnalysisOutcome::views() const {
  std::vector<View*> out;
  for (const Side& side : sides_)
    if (side.page->isVisibleTo(this))
      for (View* view : side.result->views()) out.push_back(view);
  return out;
}

}  // namespace microtome::desktop
