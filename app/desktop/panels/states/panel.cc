// States: what a recurrent head remembers, token by token.
#include <QCheckBox>
#include <QComboBox>
#include <QShortcut>
#include <QSlider>
#include <QTimer>
#include <QToolButton>
#include <algorithm>

#include "app/desktop/panels/registry.h"
#include "app/desktop/panels/states/column.h"
#include "app/desktop/theme/theme.h"
#include "app/desktop/views/flow_layout.h"
#include "app/desktop/views/token_strip.h"

namespace microtome::desktop {
namespace {

class StatesPanel : public Panel {
 public:
  StatesPanel(Session& session, const PanelInfo& info, QWidget* parent);
  std::vector<View*> views() const override;
  QByteArray saveState() const override { return columns_[0]->layoutState(); }
  void restoreState(const QByteArray& state) override {
    for (StateColumn* c : columns_) c->setLayoutState(state);
  }

 protected:
  void refresh() override;

 private:
  void fillStrip();
  void goTo(int token, bool tell);
  int tokens() const;
  QComboBox *what_, *query_;
  QCheckBox* own_;
  QSplitter* pair_;
  StateColumn* columns_[Session::kSlots];
  QWidget *content_, *bar_;
  EmptyState* empty_;
  QSlider* slider_;
  QToolButton* play_;
  QComboBox* speed_;
  TokenStrip* strip_;
  QTimer film_;
};

StatesPanel::StatesPanel(Session& session, const PanelInfo& info, QWidget* parent) : Panel(session, info, parent) {
  empty_ = new EmptyState(tr("No recurrent layer"), {}, {}, this);
  connect(empty_, &EmptyState::pressed, &session, &Session::openDemo);
  body()->addWidget(empty_, 1);
  content_ = new QWidget(this);
  auto* column = new QVBoxLayout(content_);
  column->setContentsMargins(0, 0, 0, 0);
  column->setSpacing(kGrid / 2);
  auto* options = new QHBoxLayout;
  options->setSpacing(kGrid);
  what_ = new QComboBox(content_);
  what_->setObjectName(QStringLiteral("states_what"));
  what_->setAccessibleName(tr("What the picture shows"));
  what_->addItem(tr("state"), static_cast<int>(KeptState::What::kState));
  what_->addItem(tr("write of this token"), static_cast<int>(KeptState::What::kWrite));
  what_->addItem(tr("change since the token before"), static_cast<int>(KeptState::What::kChange));
  query_ = new QComboBox(content_);
  query_->setAccessibleName(tr("Query the state is read with"));
  query_->addItem(tr("this token's query"), QStringLiteral("own"));
  query_->addItem(tr("the next token's query"), QStringLiteral("next"));
  query_->addItem(tr("each key direction"), QStringLiteral("keys"));
  own_ = new QCheckBox(tr("Scale a token"), content_);
  own_->setToolTip(tr("Off: one colour scale over all tokens"));
  auto* read = new QLabel(tr("read with"), content_);
  read->setProperty("role", QStringLiteral("muted"));
  for (QComboBox* box : {what_, query_}) guardWheel(box);
  options->addWidget(what_);
  options->addWidget(own_);
  options->addStretch(1);
  options->addWidget(read);
  options->addWidget(query_);
  column->addLayout(options);
  pair_ = new QSplitter(Qt::Horizontal, content_);
  pair_->setChildrenCollapsible(false);
  for (int slot = 0; slot < Session::kSlots; ++slot) {
    StateColumn* c = columns_[slot] = new StateColumn(*this, slot, pair_);
    c->setObjectName(QStringLiteral("states_%1").arg(slot));
    pair_->addWidget(c);
    connect(c, &StateColumn::filled, this, [this] { fillStrip(); });
    connect(c, &StateColumn::tokenPicked, this, [this](int token) { goTo(token, true); });
    connect(c, &StateColumn::headPicked, this, [this, slot](int layer, int head) {
      this->session().selection().setModel(slot);
      this->session().selection().setHead(layer, head);
    });
  }
  column->addWidget(pair_, 1);
  bar_ = new QWidget(content_);
  auto* row = new QHBoxLayout(bar_);
  row->setContentsMargins(0, 0, 0, 0);
  row->setSpacing(kGrid);
  play_ = new QToolButton(bar_);
  play_->setObjectName(QStringLiteral("states_play"));
  play_->setText(QStringLiteral("▶"));
  play_->setCheckable(true);
  play_->setToolTip(tr("Play token by token (Space)"));
  play_->setAccessibleName(tr("Play"));
  slider_ = new QSlider(Qt::Horizontal, bar_);
  slider_->setObjectName(QStringLiteral("states_slider"));
  slider_->setAccessibleName(tr("Token"));
  slider_->setPageStep(5);
  speed_ = new QComboBox(bar_);
  speed_->setAccessibleName(tr("Tokens a second"));
  guardWheel(speed_);
  for (int perSecond : {1, 2, 4, 8, 12}) speed_->addItem(tr("%1 / s").arg(perSecond), perSecond);
  speed_->setCurrentIndex(2);
  row->addWidget(play_);
  row->addWidget(slider_, 1);
  row->addWidget(speed_);
  column->addWidget(bar_);
  strip_ = new TokenStrip(content_);
  strip_->setObjectName(QStringLiteral("states_strip"));
  column->addWidget(strip_);
  body()->addWidget(content_, 1);
  adopt(strip_);

  const auto space = new QShortcut(QKeySequence(Qt::Key_Space), this);
  space->setContext(Qt::WidgetWithChildrenShortcut);
  connect(space, &QShortcut::activated, play_, &QToolButton::toggle);
  connect(play_, &QToolButton::toggled, this, [this](bool on) {
    play_->setText(on ? QStringLiteral("⏸") : QStringLiteral("▶"));
    if (on && slider_->value() == slider_->maximum()) slider_->setValue(0);
    if (on) film_.start(1000 / std::max(1, speed_->currentData().toInt()));
    else film_.stop();
  });
  connect(speed_, &QComboBox::currentIndexChanged, this, [this] { film_.setInterval(1000 / std::max(1, speed_->currentData().toInt())); });
  connect(&film_, &QTimer::timeout, this, [this] {
    if (!isVisible() || slider_->value() >= slider_->maximum()) play_->setChecked(false);
    else slider_->setValue(slider_->value() + 1);
  });
  connect(slider_, &QSlider::valueChanged, this, [this](int token) { goTo(token, true); });
  connect(strip_, &TokenStrip::tokenClicked, this, [this](qint64 token) { goTo(static_cast<int>(token), true); });
  connect(what_, &QComboBox::currentIndexChanged, this, [this] {
    for (StateColumn* c : columns_) c->setWhat(static_cast<KeptState::What>(what_->currentData().toInt()));
  });
  connect(own_, &QCheckBox::toggled, this, [this](bool on) {
    for (StateColumn* c : columns_) c->setOwnScale(on);
  });
  connect(query_, &QComboBox::currentIndexChanged, this, [this] { refresh(); });
  const auto again = [this] { scheduleRefresh(); };
  connect(&session, &Session::engineChanged, this, again);
  connect(&session, &Session::modelChanged, this, again);
  connect(&session, &Session::openingChanged, this, again);
  connect(&session, &Session::projectChanged, this, again);
  connect(&session, &Session::promptsChanged, this, again);
  Selection& s = session.selection();
  connect(&s, &Selection::promptChanged, this, again);
  connect(&s, &Selection::headChanged, this, again);
  connect(&s, &Selection::positionChanged, this, [this](int query, int) {
    if (query >= 0) goTo(query, false);
  });
}

void StatesPanel::refresh() {
  bool any = false, opening = false;
  for (int slot = 0; slot < Session::kSlots; ++slot) {
    opening = opening || session().opening(slot);
    const bool possible = columns_[slot]->possible();
    columns_[slot]->setVisible(possible);
    columns_[slot]->setNameShown(session().comparing());
    any = any || possible;
  }
  content_->setVisible(any);
  empty_->setVisible(!any);
  if (!any) {
    play_->setChecked(false);
    if (opening) empty_->setText(tr("Opening…"), tr("The model is being read."));
    else if (!session().model(0)) empty_->setText(tr("No model is open"), tr("Open a model with recurrent layers (GLA, DeltaNet, RetNet …), or try the demo."), tr("Try the demo"));
    else
      empty_->setText(tr("No recurrent layer"), tr("%1 is softmax attention in every layer: it keeps keys and values, not a state. The demo's second model is its recurrent twin.")
                                                    .arg(QString::fromStdString(session().model(0)->facts().name)), tr("Try the demo"));
    return;
  }
  const Selection& s = session().selection();
  for (StateColumn* c : columns_) {
    if (!c->possible()) continue;
    const auto [layer, head] = c->headFor(s.layer(), s.head());
    c->ask(layer, head, query_->currentData().toString());
  }
  // A picked softmax layer has no state: say so, and show the nearest thing.
  const int slot = s.model();
  if (const app::ModelPtr m = session().model(slot); m && columns_[slot]->possible() && s.layer() >= 0 && static_cast<size_t>(s.layer()) < m->facts().layers.size() &&
                                                     !m->facts().layers[static_cast<size_t>(s.layer())].recurrent)
    showNotice(tr("Layer %1 is softmax attention and keeps keys and values, not a state; a recurrent layer is shown instead.").arg(s.layer()));
  fillStrip();
}

int StatesPanel::tokens() const {
  int64_t n = 0;
  for (const StateColumn* c : columns_)
    if (c->kept() && c->possible()) n = std::max(n, c->kept()->tokens);
  return static_cast<int>(n);
}

void StatesPanel::fillStrip() {
  const StateColumn* from = nullptr;
  for (const StateColumn* c : columns_)
    if (c->kept() && c->possible() && (!from || c->kept()->tokens > from->kept()->tokens)) from = c;
  bar_->setVisible(from != nullptr);
  strip_->setVisible(from != nullptr);
  if (!from) return;
  const PromptPair& pair = from->run()->pair();
  std::vector<TokenChip> chips;
  for (int64_t t = 0; t < from->kept()->tokens; ++t) {
    TokenChip chip;
    chip.text = t < from->kept()->texts.size() ? from->kept()->texts[t] : QString::number(t);
    if (static_cast<size_t>(t) < pair.clean_ids.size()) chip.id = pair.clean_ids[static_cast<size_t>(t)];
    chips.push_back(chip);
  }
  strip_->setTokens(std::move(chips));
  // The writes over the text: where this head stores something.
  for (const KeptState::Number& n : from->kept()->numbers)
    if (n.name == QLatin1String("write norm")) {
      double top = 0;
      for (double v : n.values)
        if (v == v) top = std::max(top, v);
      strip_->setValues(n.values, Look::kPattern, 0, top > 0 ? top : 1, tr("size of the write"));
    }
  strip_->setTitle(tr("Writes over the text, layer %1, head %2").arg(from->kept()->layer).arg(from->kept()->head));
  strip_->setCommand(from->map()->command());
  strip_->setSource(from->map()->sourceRun(), QStringLiteral("states"));
  int token = session().selection().position();
  if (token < 0 || token >= tokens()) token = tokens() - 1;
  {
    const QSignalBlocker quiet(slider_);
    slider_->setRange(0, std::max(0, tokens() - 1));
  }
  goTo(token, false);
}

void StatesPanel::goTo(int token, bool tell) {
  const int n = tokens();
  if (n == 0) return;
  token = std::clamp(token, 0, n - 1);
  {
    const QSignalBlocker quiet(slider_);
    slider_->setValue(token);
  }
  strip_->setSelected(token);
  for (StateColumn* c : columns_)
    if (c->kept()) c->showToken(token);
  if (tell) session().selection().setPosition(token);
}

std::vector<View*> StatesPanel::views() const {
  std::vector<View*> out;
  if (!content_->isVisibleTo(this)) return out;
  for (const StateColumn* c : columns_)
    if (c->possible())
      for (View* v : c->shownViews()) out.push_back(v);
  return out;
}

}  // namespace
}  // namespace microtome::desktop

namespace microtome::panels {

void register_states(Registry& registry) {
  using namespace desktop;
  const PanelInfo info = {QStringLiteral("states"), QObject::tr("States"), QObject::tr("What a recurrent head remembers, token by token"), PanelArea::kCentre, 20, QStringLiteral("Ctrl+2")};
  registry.add({info, [info](Session& session, QWidget* parent) -> Panel* { return new StatesPanel(session, info, parent); }});
}

}  // namespace microtome::panels
