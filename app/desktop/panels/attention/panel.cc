// Attention: a grid of all heads' patterns, one enlarged over the tokens, a query's row over the text; two models side
// by side.
#include "app/desktop/panels/panel.h"

#include <QCheckBox>
#include <QComboBox>
#include <QDataStream>
#include <QHBoxLayout>
#include <QLabel>
#include <QLocale>
#include <QSplitter>
#include <algorithm>

#include "app/desktop/panels/attention/column.h"
#include "app/desktop/panels/registry.h"
#include "app/desktop/theme/theme.h"
#include "app/desktop/views/flow_layout.h"
#include "app/desktop/views/token_strip.h"

namespace microtome::desktop {
namespace {

// Whole patterns are kept for prompts up to this length, as long as they stay below kFreeBytes; more is asked for.
constexpr int64_t kTokensKept = 1024, kTokensMost = 8192;
constexpr double kFreeBytes = 256e6;

class AttentionPanel : public Panel {
 public:
  AttentionPanel(Session& session, const PanelInfo& info, QWidget* parent);
  std::vector<View*> views() const override;
  QByteArray saveState() const override;
  void restoreState(const QByteArray& state) override;

 protected:
  void refresh() override;

 private:
  std::map<std::string, std::string> paramsFor(int slot) const;
  void askWhenTooLong(int slot);
  void shareScales();
  void fitStrips();
  void showSelection();
  void pickHead(int slot, int layer, int head);
  void pickPosition(int slot, int query, int key);
  PatternOptions options() const;

  QWidget* bar_;
  QWidget* recurrent_;  // label and choice
  QComboBox* look_;
  QCheckBox *hideFirst_, *oneScale_;
  QSplitter* splitter_;
  AttentionColumn* columns_[Session::kSlots] = {nullptr, nullptr};
  // Lengths up to which a person has said yes to what keeping patterns costs.
  int64_t allowed_[Session::kSlots] = {0, 0};
  int layer_ = 0, head_ = 0;  // shown while nothing is selected
  bool cleared_ = false;      // a person took the brush away: the last token is not brushed in its place
};

AttentionPanel::AttentionPanel(Session& session, const PanelInfo& info, QWidget* parent)
    : Panel(session, info, parent) {
  bar_ = new QWidget(this);
  auto* row = new QHBoxLayout(bar_);
  row->setContentsMargins(0, 0, 0, 0);
  row->setSpacing(kGrid * 2);
  recurrent_ = new QWidget(bar_);
  auto* pair = new QHBoxLayout(recurrent_);
  pair->setContentsMargins(0, 0, 0, 0);
  pair->setSpacing(kGrid);
  auto* label = new QLabel(tr("Recurrent heads"), recurrent_);
  label->setProperty("role", QStringLiteral("muted"));
  look_ = new QComboBox(recurrent_);
  look_->setObjectName(QStringLiteral("recurrent_look"));
  look_->setAccessibleName(tr("How recurrent heads are shown"));
  look_->addItem(tr("signed weights"));
  look_->addItem(tr("absolute weights"));
  look_->addItem(tr("shares of a row"));
  look_->setItemData(0, tr("A in z = A v as it is: red below zero, white at zero, blue above"), Qt::ToolTipRole);
  look_->setItemData(1, tr("The weights without their sign"), Qt::ToolTipRole);
  look_->setItemData(
      2,
      tr("Absolute weights divided by their row's sum, as the head's numbers take them: comparable with probabilities"),
      Qt::ToolTipRole);
  guardWheel(look_);
  pair->addWidget(label);
  pair->addWidget(look_);
  hideFirst_ = new QCheckBox(tr("Hide first token"), bar_);
  hideFirst_->setObjectName(QStringLiteral("hide_first"));
  hideFirst_->setToolTip(
      tr("Leaves the first token's weights out and fits the colours to what is left: sinks hide the rest"));
  oneScale_ = new QCheckBox(tr("One colour scale"), bar_);
  oneScale_->setObjectName(QStringLiteral("one_scale"));
  oneScale_->setToolTip(tr(
      "A colour means the same weight in every head of its kind, in both models; else each head by its own largest"));
  oneScale_->setChecked(true);
  row->addWidget(recurrent_);
  row->addWidget(hideFirst_);
  row->addWidget(oneScale_);
  row->addStretch(1);
  body()->addWidget(bar_);
  splitter_ = new QSplitter(Qt::Horizontal, this);
  splitter_->setChildrenCollapsible(false);
  for (int slot = 0; slot < Session::kSlots; ++slot) {
    AttentionColumn* c = columns_[slot] = new AttentionColumn(*this, slot, splitter_);
    c->setObjectName(QStringLiteral("attention_%1").arg(slot));
    if (slot > 0) c->layout()->setContentsMargins(kGrid, 0, 0, 0);
    splitter_->addWidget(c);
    connect(c, &AttentionColumn::headPicked, this, [this, slot](int l, int h) { pickHead(slot, l, h); });
    connect(c, &AttentionColumn::positionPicked, this, [this, slot](int q, int k) { pickPosition(slot, q, k); });
    connect(c, &PromptRunPane::arrived, this, [this, slot] {
      askWhenTooLong(slot);
      showSelection();
    });
    connect(c, &AttentionColumn::gridBuilt, this, [this] { shareScales(); });
    connect(c, &PromptRunPane::answered, this, [this, slot] {
      if (const PromptPair* p = this->session().currentPair(slot))
        allowed_[slot] = static_cast<int64_t>(p->clean_ids.size());
      columns_[slot]->run()->ask(paramsFor(slot));
    });
    connect(c, &AttentionColumn::stripChanged, this, [this] { fitStrips(); });
    connect(c, &AttentionColumn::shareChanged, this,
            [this, slot](int arrangement, double share) { columns_[1 - slot]->setShare(arrangement, share); });
  }
  body()->addWidget(splitter_, 1);

  const auto optionsChanged = [this] {
    for (AttentionColumn* c : columns_) c->setOptions(options());
    shareScales();
  };
  connect(look_, &QComboBox::currentIndexChanged, this, optionsChanged);
  connect(hideFirst_, &QCheckBox::toggled, this, optionsChanged);
  connect(oneScale_, &QCheckBox::toggled, this, [this] { shareScales(); });
  connect(&session, &Session::engineChanged, this, [this] { scheduleRefresh(); });
  connect(&session, &Session::modelChanged, this, [this] { scheduleRefresh(); });
  connect(&session, &Session::openingChanged, this, [this] { scheduleRefresh(); });
  connect(&session, &Session::projectChanged, this, [this] { scheduleRefresh(); });
  connect(&session, &Session::promptsChanged, this, [this] {
    cleared_ = false;
    scheduleRefresh();
  });
  Selection& s = session.selection();
  connect(&s, &Selection::promptChanged, this, [this] {
    cleared_ = false;
    scheduleRefresh();
  });
  connect(&s, &Selection::headChanged, this, [this](int layer, int head) {
    if (layer < 0) return;
    layer_ = layer;
    if (head >= 0) head_ = head;  // a whole layer: the head of that number in it
    showSelection();
  });
  connect(&s, &Selection::positionChanged, this, [this](int query, int) {
    if (query >= 0) cleared_ = false;
    showSelection();
  });
  columns_[1]->hide();
}

PatternOptions AttentionPanel::options() const {
  return {static_cast<RecurrentLook>(std::max(0, look_->currentIndex())), hideFirst_->isChecked()};
}

std::vector<View*> AttentionPanel::views() const {
  std::vector<View*> out;
  for (const AttentionColumn* c : columns_)
    for (View* v : c->views()) out.push_back(v);
  return out;
}

// ---- runs ----------------------------------------------------------------------------------------------------------

std::map<std::string, std::string> AttentionPanel::paramsFor(int slot) const {
  const app::ModelPtr model = session().model(slot);
  const PromptPair* pair = session().currentPair(slot);
  int64_t kept = kTokensKept, patterns = 1;
  if (model && pair) {
    const auto tokens = static_cast<int64_t>(pair->clean_ids.size());
    const bool agreed = tokens <= allowed_[slot];
    // Powers of two, so that prompts of about one length have runs of one setting.
    while (agreed && kept < tokens && kept < kTokensMost) kept *= 2;
    if (!agreed && patternBytes(model->facts(), tokens) > kFreeBytes) patterns = 0;
  }
  return {{"max_patterns", std::to_string(patterns)}, {"max_pattern_tokens", std::to_string(kept)}};
}

void AttentionPanel::askWhenTooLong(int slot) {
  AttentionColumn* c = columns_[slot];
  const PromptRun* run = c->run();
  if (!run->run() || c->patterns()) return;
  const auto tokens = static_cast<int64_t>(run->pair().clean_ids.size());
  const QLocale english(QLocale::English);
  if (tokens <= allowed_[slot] && tokens <= kTokensMost) {
    c->setQuestion(tr("No patterns"), tr("This model's layers have no attention matrix that could be shown."), {});
    return;
  }
  if (tokens > kTokensMost) {
    c->setQuestion(tr("A very long prompt"),
                   tr("It has %1 tokens; patterns are kept for up to %2. Choose a shorter prompt, or part of this one.")
                       .arg(english.toString(static_cast<qlonglong>(tokens)),
                            english.toString(static_cast<qlonglong>(kTokensMost))),
                   {});
    return;
  }
  const double bytes = patternBytes(run->model()->facts(), tokens);
  c->setQuestion(tr("A long prompt"),
                 tr("It has %1 tokens. The patterns of all heads take %2 in the project, and about five times that in "
                    "memory while they "
                    "are computed.")
                     .arg(english.toString(static_cast<qlonglong>(tokens)), bytesText(bytes)),
                 tr("Compute them (%1)").arg(bytesText(bytes)));
}

void AttentionPanel::refresh() {
  const bool any = session().model(0) != nullptr;
  bool recurrent = false;
  for (int slot = 0; slot < Session::kSlots; ++slot) {
    if (const app::ModelPtr m = session().model(slot))
      for (const app::LayerFacts& f : m->facts().layers) recurrent = recurrent || f.recurrent;
    columns_[slot]->setVisible(slot == 0 || session().comparing() || session().opening(slot));
    columns_[slot]->setNameShown(session().comparing());
  }
  columns_[0]->layout()->setContentsMargins(0, 0, columns_[1]->isVisibleTo(splitter_) ? kGrid : 0, 0);
  bar_->setVisible(any);
  recurrent_->setVisible(recurrent);
  for (int slot = 0; slot < Session::kSlots; ++slot) columns_[slot]->run()->ask(paramsFor(slot));
  showSelection();
}

// ---- what is shown -------------------------------------------------------------------------------------------------

void AttentionPanel::shareScales() {
  if (!oneScale_->isChecked()) {
    for (AttentionColumn* c : columns_) c->setScales(std::nullopt);
    return;
  }
  std::vector<const PatternGrid*> grids;
  for (AttentionColumn* c : columns_)
    if (c->run()->slot() == 0 || session().comparing()) grids.push_back(c->built());
  const PatternScales scales = commonScales(grids, hideFirst_->isChecked());
  for (AttentionColumn* c : columns_) c->setScales(scales);
}

void AttentionPanel::fitStrips() {
  int height = 0;
  for (const AttentionColumn* c : columns_)
    if (c && c->isVisibleTo(splitter_)) height = std::max(height, c->stripWanted());
  for (AttentionColumn* c : columns_)
    if (c && height > 0) c->setStripHeight(height);
}

void AttentionPanel::showSelection() {
  const Selection& s = session().selection();
  const int query = s.position() >= 0 ? s.position() : cleared_ ? -1 : AttentionColumn::kLastQuery;
  for (AttentionColumn* c : columns_) c->showAt(layer_, head_, query, s.keyPosition());
}

void AttentionPanel::pickHead(int slot, int layer, int head) {
  session().selection().setModel(slot);
  session().selection().setHead(layer, head);
  // Nothing is told when it was selected already, but another one may be on show.
  layer_ = layer;
  head_ = head;
  showSelection();
}

void AttentionPanel::pickPosition(int slot, int query, int key) {
  cleared_ = query < 0;
  session().selection().setModel(slot);
  session().selection().setPosition(query, key);
  showSelection();
}

// ---- kept between starts -------------------------------------------------------------------------------------------

QByteArray AttentionPanel::saveState() const {
  QByteArray out;
  QDataStream stream(&out, QIODevice::WriteOnly);
  stream << quint8(1) << quint8(look_->currentIndex()) << hideFirst_->isChecked() << oneScale_->isChecked()
         << splitter_->saveState();
  for (int a = 0; a < AttentionColumn::kArrangements; ++a) stream << columns_[0]->share(a);
  return out;
}

void AttentionPanel::restoreState(const QByteArray& state) {
  QDataStream stream(state);
  quint8 version = 0, look = 0;
  bool hide = false, one = true;
  QByteArray splitter;
  double shares[AttentionColumn::kArrangements] = {0, 0, 0};
  stream >> version >> look >> hide >> one >> splitter;
  for (double& share : shares) stream >> share;
  if (stream.status() != QDataStream::Ok || version != 1) return;
  look_->setCurrentIndex(std::min<int>(look, look_->count() - 1));
  hideFirst_->setChecked(hide);
  oneScale_->setChecked(one);
  splitter_->restoreState(splitter);
  for (AttentionColumn* c : columns_)
    for (int a = 0; a < AttentionColumn::kArrangements; ++a) c->setShare(a, shares[a]);
}

}  // namespace
}  // namespace microtome::desktop

namespace microtome::panels {

void register_attention(Registry& registry) {
  using namespace desktop;
  const PanelInfo info{
      QStringLiteral("attention"),
      QObject::tr("Attention"),
      QObject::tr("Where every head looks on the selected prompt, softmax and recurrent; two models side by side."),
      PanelArea::kCentre,
      10,
      QStringLiteral("Ctrl+1")};
  registry.add({info, [info](Session& session, QWidget* parent) { return new AttentionPanel(session, info, parent); }});
}

}  // namespace microtome::panels
