// Inspector: whatever is selected, in numbers and words.
#include <QLabel>
#include <QScrollArea>
#include <QScrollBar>
#include <QTimer>
#include <QVBoxLayout>

#include "app/desktop/panels/inspector/head_section.h"
#include "app/desktop/panels/inspector/run_section.h"
#include "app/desktop/panels/registry.h"
#include "app/desktop/theme/theme.h"
#include "app/desktop/views/label_text.h"

namespace microtome::desktop {
namespace {

// As tall as its words need at the width it has: their hints at another width would leave a blank end to scroll to.
class Page : public QWidget {
 public:
  QSize minimumSizeHint() const override { return {0, 0}; }
};

class InspectorPanel : public Panel {
 public:
  InspectorPanel(Session& session, const PanelInfo& info, QWidget* parent) : Panel(session, info, parent) {
    body()->setContentsMargins(0, 0, 0, 0);
    empty_ = new EmptyState(tr("Nothing is selected"),
                            tr("Click a run, a head, a token or a hook point anywhere: what is known of it stands here."),
                            {}, this);
    scroll_ = new QScrollArea(this);
    scroll_->setWidgetResizable(true);
    scroll_->setHorizontalScrollBarPolicy(Qt::ScrollBarAlwaysOff);
    scroll_->setMinimumWidth(25 * kGrid);
    auto* content = new Page;
    auto* column = new QVBoxLayout(content);
    column->setContentsMargins(kGrid, kGrid / 2, kGrid, kGrid);
    column->setSpacing(0);
    run_ = new RunSection(*this, content);
    head_ = new HeadSection(session, content);
    position_ = new Section(tr("Position"), content);
    position_->setObjectName(QStringLiteral("section_position"));
    hook_ = new Section(tr("Hook point"), content);
    hook_->setObjectName(QStringLiteral("section_hook"));
    graph_ = new Section(tr("Graph"), content);
    graph_->setObjectName(QStringLiteral("section_graph"));
    for (Section* s : sections()) column->addWidget(s);
    column->addStretch(1);
    scroll_->setWidget(content);
    body()->addWidget(empty_);
    body()->addWidget(scroll_);
    for (Section* s : sections()) s->hide();

    Selection& s = session.selection();
    connect(&s, &Selection::changed, this, [this] { scheduleRefresh(); });
    // What was selected last comes into view.
    connect(&s, &Selection::runChanged, this, [this] { wanted_ = run_; });
    connect(&s, &Selection::headChanged, this, [this] { wanted_ = head_; });
    connect(&s, &Selection::positionChanged, this, [this] { wanted_ = position_; });
    connect(&s, &Selection::hookPointChanged, this, [this] { wanted_ = hook_; });
    connect(&s, &Selection::nodeChanged, this, [this] { wanted_ = graph_; });
    connect(&session, &Session::runsChanged, this, [this] { scheduleRefresh(); });
    connect(&session, &Session::promptsChanged, this, [this] { scheduleRefresh(); });
    connect(&session, &Session::engineChanged, this, [this] { scheduleRefresh(); });
    connect(&session, &Session::modelChanged, this, [this] { scheduleRefresh(); });
  }

  QSize sizeHint() const override { return {33 * kGrid, 60 * kGrid}; }
  QByteArray saveState() const override {
    QByteArray out;
    for (Section* s : sections()) out += s->folded() ? '1' : '0';
    return out;
  }
  void restoreState(const QByteArray& state) override {
    const QList<Section*> all = sections();
    for (qsizetype i = 0; i < all.size() && i < state.size(); ++i) all[i]->setFolded(state[i] == '1');
  }

 protected:
  void refresh() override {
    run_->show(session().selection().run());
    head_->show();
    showPosition();
    showHook();
    showGraph();
    bool any = false;
    for (Section* s : sections()) any = any || s->isVisibleTo(scroll_->widget());
    empty_->setVisible(!any);
    scroll_->setVisible(any);
    if (Section* target = wanted_; target && target->isVisibleTo(scroll_->widget())) {
      // After the layout has placed it. Its beginning is what matters.
      QTimer::singleShot(0, this, [this, target] {
        const int top = target->mapTo(scroll_->widget(), QPoint()).y();
        QScrollBar* bar = scroll_->verticalScrollBar();
        const int height = scroll_->viewport()->height();
        if (top < bar->value() || top + std::min(target->height(), height) > bar->value() + height) bar->setValue(top);
      });
    }
    wanted_ = nullptr;
  }

  void hideEvent(QHideEvent* event) override {
    run_->keepNote();
    Panel::hideEvent(event);
  }

 private:
  QList<Section*> sections() const { return {run_, head_, position_, hook_, graph_}; }

  void showPosition() {
    const Selection& s = session().selection();
    const PromptPair* pair = session().currentPair(s.model());
    const app::ModelPtr model = session().model(s.model());
    const bool there = pair && model && s.position() >= 0 && s.position() < static_cast<int>(pair->clean_ids.size());
    position_->setVisible(there);
    if (!there) return;
    std::vector<FactRow> rows;
    const auto token = [&](int at, const std::vector<int64_t>& ids) {
      const int64_t id = ids[static_cast<size_t>(at)];
      const Tokenizer* t = model->tokenizer();
      // An id beyond the vocabulary has no text.
      const bool known = t && id >= 0 && id < t->vocab_size();
      return known ? visibleToken(QString::fromStdString(t->display(id)).left(80)) + tr("  (id %1)").arg(id) : tr("id %1").arg(id);
    };
    const auto add = [&](const QString& name, const QString& value, const QString& tip = {}, bool mono = true) {
      rows.push_back({name, value, tip, mono, false, {}});
    };
    const int at = s.position();
    position_->setHeadline(tr("Position %1 of %2, prompt %3").arg(at).arg(pair->clean_ids.size()).arg(s.prompt() + 1));
    add(tr("Token"), token(at, pair->clean_ids), tr("Of the clean prompt; positions count from 0, the start token included"));
    if (at < static_cast<int>(pair->corrupted_ids.size()) &&
        pair->corrupted_ids[static_cast<size_t>(at)] != pair->clean_ids[static_cast<size_t>(at)])
      add(tr("Corrupted"), token(at, pair->corrupted_ids), tr("What stands there in the corrupted prompt"));
    QStringList labels;
    for (const auto& [label, index] : pair->positions)
      if (index == at) labels << labelText(label, 60);
    if (!labels.isEmpty()) add(tr("Marked as"), labels.join(QStringLiteral(", ")), tr("The task's name for this place"), false);
    if (s.keyPosition() >= 0 && s.keyPosition() < static_cast<int>(pair->clean_ids.size()))
      add(tr("Looks at"), tr("%1: ").arg(s.keyPosition()) + token(s.keyPosition(), pair->clean_ids),
          tr("The key position that was picked"));
    position_->facts()->setRows(rows);
  }

  void showHook() {
    const QString& name = session().selection().hookPoint();
    const app::ModelPtr model = session().model(session().selection().model());
    const app::HookFacts* hook = nullptr;
    if (model)
      for (const app::HookFacts& h : model->facts().hooks)
        if (QString::fromStdString(h.name) == name) hook = &h;
    hook_->setVisible(hook != nullptr);
    if (!hook) return;
    hook_->setHeadline(labelText(hook->name, 200));
    std::vector<FactRow> rows;
    QStringList shape;
    for (size_t i = 0; i < hook->axes.size(); ++i) {
      const int64_t size = i < hook->sizes.size() ? hook->sizes[i] : -1;
      shape << axisText(hook->axes[i]) + (size >= 0 ? QStringLiteral(" ") + QString::number(size) : QString());
    }
    if (!shape.isEmpty())
      rows.push_back(
          {tr("Axes"), shape.join(QStringLiteral(" × ")), tr("A size that follows the run is left out"), false, false, {}});
    if (hook->on_request)
      rows.push_back(
          {tr("Computed"), tr("only when asked for"), tr("A run without it takes a faster way"), false, false, {}});
    if (!hook->note.empty()) rows.push_back({tr("Note"), labelText(hook->note, 600), {}, false, false, {}});
    hook_->facts()->setRows(rows);
  }

  void showGraph() {
    const Selection& s = session().selection();
    graph_->setVisible(!s.node().isEmpty() || !s.edge().isEmpty());
    std::vector<FactRow> rows;
    if (!s.node().isEmpty()) rows.push_back({tr("Node"), labelText(s.node().toStdString(), 200), {}, true, false, {}});
    if (!s.edge().isEmpty()) rows.push_back({tr("Edge"), labelText(s.edge().toStdString(), 200), {}, true, false, {}});
    graph_->facts()->setRows(rows);
  }

  EmptyState* empty_;
  QScrollArea* scroll_;
  RunSection* run_;
  HeadSection* head_;
  Section *position_, *hook_, *graph_, *wanted_ = nullptr;
};

}  // namespace
}  // namespace microtome::desktop

namespace microtome::panels {

void register_inspector(Registry& registry) {
  using namespace desktop;
  const PanelInfo info{QStringLiteral("inspector"),
                       QObject::tr("Inspector"),
                       QObject::tr("What is selected: the run, the head, the token, the hook point, with their numbers."),
                       PanelArea::kRight,
                       0,
                       QStringLiteral("Ctrl+I")};
  registry.add({info, [info](Session& session, QWidget* parent) { return new InspectorPanel(session, info, parent); }});
}

}  // namespace microtome::panels
