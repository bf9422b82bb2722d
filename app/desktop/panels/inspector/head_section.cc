#include "app/desktop/panels/inspector/head_section.h"

#include <QLabel>
#include <QPointer>
#include <QVBoxLayout>
#include <set>

#include "app/desktop/session/run_facts.h"
#include "app/desktop/theme/theme.h"
#include "app/desktop/views/label_text.h"
#include "app/desktop/views/row_delegate.h"

namespace microtome::desktop {

HeadSection::HeadSection(Session& session, QWidget* parent) : Section(tr("Head"), parent), session_(session) {
  setObjectName(QStringLiteral("section_head"));
  said_ = wrappedLabel(this, "muted");
  said_->setObjectName(QStringLiteral("said"));
  body()->addWidget(said_);
  numbers_ = new FactGrid(this);
  numbers_->setObjectName(QStringLiteral("numbers"));
  body()->addWidget(numbers_);
  connect(numbers_, &FactGrid::linkPressed, this, [this](const QString& link) {
    session_.selection().setRun(link.toLongLong());
    Q_EMIT session_.panelWanted(QStringLiteral("results"));
  });
  // A run of a known number may have been computed anew.
  connect(&session_, &Session::runFinished, this, [this] { model_ = nullptr; });
}

// Newest first; of runs that differ in cost or prompts alone the newest speaks.
std::vector<const RunRecord*> HeadSection::newestRuns(int slot) const {
  std::vector<const RunRecord*> out;
  std::set<std::pair<std::string, std::map<std::string, std::string>>> known;
  for (const RunRecord& run : session_.runs()) {
    if (run.state != RunStatus::kDone || slotOfModel(session_, run) != slot) continue;
    if (!known.insert({run.analysis, run.spec.answer_params}).second) continue;
    out.push_back(&run);
    if (out.size() == kMostRuns) break;
  }
  return out;
}

void HeadSection::show() {
  const Selection& s = session_.selection();
  const int slot = s.model();
  const app::ModelPtr model = session_.model(slot);
  const int layer = s.layer();
  if (!model || layer < 0 || layer >= static_cast<int>(model->facts().layers.size())) {
    setVisible(false);
    return;
  }
  setVisible(true);
  const app::LayerFacts& facts = model->facts().layers[static_cast<size_t>(layer)];
  const int head = s.head() < facts.heads ? s.head() : -1;
  setHeadline(head >= 0 ? tr("Layer %1, head %2 of %3").arg(layer).arg(head).arg(labelText(model->facts().name, 80))
                        : tr("Layer %1 of %2").arg(layer).arg(labelText(model->facts().name, 80)),
              static_cast<int>(facts.recurrent ? RowMark::kRecurrent : RowMark::kSoftmax));
  std::vector<FactRow> rows;
  const auto number = [&](const QString& name, int64_t value, const QString& tip) {
    if (value > 0) rows.push_back({name, QString::number(value), tip, false, false, {}});
  };
  rows.push_back(
      {tr("Mixer"),
       nameText(facts.mixer),
       facts.recurrent ? tr("Recurrent: it keeps a state") : tr("Softmax attention: it looks at all tokens before"),
       false,
       false,
       {}});
  number(tr("Heads"), facts.heads, tr("Heads of the layer"));
  if (facts.kv_heads != facts.heads) number(tr("Key/value heads"), facts.kv_heads, tr("Heads share keys and values"));
  number(QStringLiteral("d_k"), facts.d_k, tr("Width of a head's keys and queries"));
  number(QStringLiteral("d_v"), facts.d_v, tr("Width of a head's values"));
  this->facts()->setRows(rows);

  QList<qint64> runs;
  if (head >= 0)
    for (const RunRecord* r : newestRuns(slot)) runs << r->id;
  const bool same = slot == slot_ && layer == layer_ && head == head_ && runs == runs_ && model.get() == model_;
  slot_ = slot;
  layer_ = layer;
  head_ = head;
  runs_ = runs;
  model_ = model.get();
  if (same) return;
  found_.clear();
  const int generation = ++generation_;
  for (qint64 run : runs) {
    const QPointer<HeadSection> self(this);
    session_.loadRun(run, this, [self, generation, run, layer, head](const RunViewPtr& read) {
      if (!self || generation != self->generation_ || !read) return;
      self->found_[run] = headNumbers(read->result, layer, head);
      self->fill();
    });
  }
  fill();
}

void HeadSection::fill() {
  std::vector<FactRow> rows;
  for (qint64 run : runs_) {
    const auto found = found_.constFind(run);
    const RunRecord* record = session_.findRun(run);
    if (found == found_.constEnd() || found->empty() || !record) continue;
    rows.push_back({tr("%1 · run %2").arg(runTitle(*record)).arg(run), {}, tr("Show this run"), false, false, QString::number(run)});
    int shown = 0;
    for (const HeadNumber& n : *found) {
      if (shown++ == kMostNumbers) break;
      QString tip = n.help;
      if (!n.where.isEmpty()) tip += (tip.isEmpty() ? QString() : QStringLiteral("\n")) + n.where;
      rows.push_back({n.name, numberText(n.value) + (n.unit.isEmpty() ? QString() : QLatin1Char(' ') + n.unit), tip, false, true, {}});
    }
    if (const int more = static_cast<int>(found->size()) - kMostNumbers; more > 0)
      rows.push_back({tr("and %1 more").arg(more), {}, tr("All of them are in Results"), false, false, {}});
  }
  numbers_->setRows(rows);
  numbers_->setVisible(!rows.empty());
  said_->setVisible(head_ >= 0 && rows.empty());
  said_->setText(tr("No run of this model tells something about this head yet: what you run on it is listed here."));
}

}  // namespace microtome::desktop
