#include "app/desktop/panels/attention/column.h"

#include <QLabel>
#include <QResizeEvent>
#include <QScrollArea>
#include <QScrollBar>
#include <QSplitter>
#include <QVBoxLayout>
#include <algorithm>
#include <cmath>
#include <functional>

#include "app/desktop/panels/attention/head_line.h"
#include "app/desktop/theme/theme.h"
#include "app/desktop/views/label_text.h"
#include "app/desktop/views/token_strip.h"

namespace microtome::desktop {
namespace {

// What is cut in the GUI thread: a few milliseconds. More goes through a worker.
constexpr int64_t kGridAtOnce = 1 << 21, kMapAtOnce = 1 << 20;
constexpr int kNumbersWide = 18 * kGrid;

// Its parts keep their shares at every size.
class ShareSplitter : public QSplitter {
 public:
  using QSplitter::QSplitter;
  std::function<void()> resized;

 protected:
  void resizeEvent(QResizeEvent* event) override {
    QSplitter::resizeEvent(event);
    if (resized) resized();
  }
};

}  // namespace

AttentionColumn::AttentionColumn(Panel& panel, int slot, QWidget* parent)
    : PromptRunPane(panel.session(), QStringLiteral("attention"), slot, parent), session_(panel.session()) {
  auto* content = new QWidget(this);
  column_ = new QVBoxLayout(content);
  column_->setContentsMargins(0, 0, 0, 0);
  column_->setSpacing(kGrid / 2);
  auto* splitter = new ShareSplitter(Qt::Horizontal, content);
  splitter->resized = [this] { divide(); };
  splitter_ = splitter;
  splitter_->setChildrenCollapsible(false);
  splitter_->setObjectName(QStringLiteral("attention_splitter"));
  const auto part = [this](QBoxLayout** box) {
    auto* w = new QWidget(splitter_);
    *box = new QBoxLayout(QBoxLayout::LeftToRight, w);
    (*box)->setContentsMargins(0, 0, 0, 0);
    (*box)->setSpacing(kGrid / 2);
    return w;
  };
  QWidget* upper = part(&upperBox_);
  QWidget* lower = part(&lowerBox_);
  grid_ = new HeatMapGridView(upper);
  map_ = new HeatMapView(lower);
  // Low enough for the panel to give way until the dense arrangement is in force; below that the maps lose their axes.
  for (QWidget* w : {static_cast<QWidget*>(grid_), static_cast<QWidget*>(map_)}) w->setMinimumHeight(12 * kGrid);
  line_ = new HeadLine(lower);
  line_->setObjectName(QStringLiteral("head_numbers"));
  QFont small = font();
  if (small.pointSizeF() > 0) small.setPointSizeF(std::max(7.0, small.pointSizeF() - 1));
  line_->setFont(small);
  lowerBox_->setDirection(QBoxLayout::TopToBottom);
  upperBox_->addWidget(grid_, 1);
  lowerBox_->addWidget(map_, 1);
  lowerBox_->addWidget(line_);
  column_->addWidget(splitter_, 1);
  stripLabel_ = new QLabel(content);
  stripLabel_->setObjectName(QStringLiteral("strip_label"));
  stripLabel_->setProperty("role", QStringLiteral("muted"));
  stripLabel_->setTextFormat(Qt::PlainText);
  stripLabel_->setSizePolicy(QSizePolicy::Ignored, QSizePolicy::Preferred);
  column_->addWidget(stripLabel_);
  stripArea_ = new QScrollArea(content);
  stripArea_->setWidgetResizable(true);
  stripArea_->setHorizontalScrollBarPolicy(Qt::ScrollBarAlwaysOff);
  stripArea_->setFocusPolicy(Qt::NoFocus);
  strip_ = new TokenStrip(stripArea_);
  stripArea_->setWidget(strip_);
  column_->addWidget(stripArea_);
  setContent(content);
  for (View* view : {static_cast<View*>(grid_), static_cast<View*>(map_), static_cast<View*>(strip_)})
    panel.adopt(view);

  connect(this, &PromptRunPane::arrived, this, &AttentionColumn::take);
  connect(grid_, &HeatMapGridView::picked, this,
          [this](qint64 l, qint64 h) { Q_EMIT headPicked(static_cast<int>(l), static_cast<int>(h)); });
  connect(grid_, &HeatMapGridView::activated, this, [this] { map_->setFocus(Qt::OtherFocusReason); });
  connect(map_, &HeatMapView::cellClicked, this,
          [this](qint64 q, qint64 k) { Q_EMIT positionPicked(static_cast<int>(q), static_cast<int>(k)); });
  connect(map_, &HeatMapView::rowBrushed, this, [this](qint64 q) { Q_EMIT positionPicked(static_cast<int>(q), -1); });
  connect(strip_, &TokenStrip::tokenClicked, this,
          [this](qint64 q) { Q_EMIT positionPicked(static_cast<int>(q), -1); });
  connect(splitter_, &QSplitter::splitterMoved, this, [this] {
    const QList<int> sizes = splitter_->sizes();
    if (sizes.size() != 2 || sizes[0] + sizes[1] < 1) return;
    share_[arrangement_] = static_cast<double>(sizes[0]) / (sizes[0] + sizes[1]);
    Q_EMIT shareChanged(arrangement_, share_[arrangement_]);
  });
  arrange();
}

std::vector<View*> AttentionColumn::views() const {
  if (!isVisibleTo(parentWidget()) || !showsContent() || !patterns_) return {};
  return {grid_, map_, strip_};
}

// ---- numbers in ----------------------------------------------------------------------------------------------------

void AttentionColumn::take() {
  ++gridTicket_;
  ++mapTicket_;
  patterns_ = Patterns::read(run()->run(), run()->model(), run()->pair());
  built_.reset();
  mapThere_ = mapAsked_ = false;
  query_ = key_ = -1;
  std::vector<TokenChip> chips;
  if (patterns_) {
    const Tokenizer* t = run()->model()->tokenizer();
    const std::vector<int64_t>& ids = run()->pair().clean_ids;
    for (size_t i = 0; i < ids.size(); ++i)
      chips.push_back(
          {patterns_->words().at(static_cast<qsizetype>(i)), ids[i], {}, false, t && t->bos_id() == ids[i]});
    const RunRecord& record = patterns_->run()->record;
    for (View* view : {static_cast<View*>(grid_), static_cast<View*>(map_), static_cast<View*>(strip_)}) {
      view->setCommand(QString::fromStdString(record.command.empty() ? record.spec.command : record.command));
      view->setSource(record.id, QStringLiteral("patterns"));
    }
    grid_->setTitle(tr("Attention patterns of %1").arg(labelText(run()->model()->facts().name, 80)));
  }
  strip_->setTokens(std::move(chips));
  strip_->setValues({}, Look::kPattern, 0, 1);
  grid_->clear(tr("The patterns are being read…"));
  map_->clear(tr("The pattern is being read…"));
  Q_EMIT stripChanged();
  cutGrid();
}

void AttentionColumn::setOptions(const PatternOptions& options) {
  if (options == options_) return;
  options_ = options;
  cutGrid();
  cutMap();
}

void AttentionColumn::cutGrid() {
  const int ticket = ++gridTicket_;
  if (!patterns_) return;
  const int64_t n = patterns_->tokens();
  if (patterns_->layers() * patterns_->heads() * n <= kGridAtOnce / n) {
    takeGrid(patterns_->grid(options_));
    return;
  }
  session_.post(
      tr("Patterns of %1").arg(labelText(run()->model()->facts().name, 80)), QStringLiteral("light"), this,
      [patterns = patterns_, options = options_](Progress&) { return patterns->grid(options); },
      [this, ticket](const Result<PatternGrid>& made) {
        if (made && ticket == gridTicket_) takeGrid(made.value());
      },
      QStringLiteral("attention-grid-%1").arg(run()->slot()));
}

void AttentionColumn::takeGrid(PatternGrid grid) {
  built_ = std::move(grid);
  showGrid();
  Q_EMIT gridBuilt();
}

void AttentionColumn::showGrid() {
  if (!built_) return;
  HeatMapGridData data = built_->data;
  data.commonScale = scales_.has_value();
  if (scales_)
    for (HeatMapData& m : data.maps) std::tie(m.lo, m.hi) = scaleFor(m.look, *scales_);
  grid_->setData(std::move(data));
  grid_->setSelected(layer_, head_);
}

void AttentionColumn::setScales(const std::optional<PatternScales>& scales) {
  if (scales == scales_ && grid_->data().rows > 0) return;
  scales_ = scales;
  showBar();
  showGrid();
  if (!mapThere_) return;
  const auto [lo, hi] = scaleOfHead();
  map_->setScale(lo, hi);
  markPosition();
}

std::pair<double, double> AttentionColumn::scaleOfHead() const {
  return scales_ && patterns_ ? scaleFor(patterns_->look(layer_, options_), *scales_) : std::pair(0.0, 0.0);
}

// ---- the head that is enlarged -------------------------------------------------------------------------------------

void AttentionColumn::showAt(int layer, int head, int query, int key) {
  if (!patterns_) return;
  layer = std::clamp<int>(layer, 0, static_cast<int>(patterns_->layers()) - 1);
  head = std::clamp<int>(
      head, 0, static_cast<int>(std::max<int64_t>(1, std::min(patterns_->heads(), patterns_->headsOf(layer)))) - 1);
  const int last = static_cast<int>(patterns_->tokens()) - 1;
  query = query == kLastQuery ? last : std::min(query, last);
  key = query < 0 ? -1 : std::min(key, query);
  const bool moved = layer != layer_ || head != head_ || !mapAsked_;
  layer_ = layer;
  head_ = head;
  query_ = query;
  key_ = key;
  grid_->setSelected(layer_, head_);
  if (moved) cutMap();
  else markPosition();
}

void AttentionColumn::cutMap() {
  const int ticket = ++mapTicket_;
  mapThere_ = false;
  if (!patterns_) return;
  mapAsked_ = true;
  const app::AnalysisFacts* facts = session_.findAnalysis(QStringLiteral("attention"));
  line_->setHead(
      tr("L%1 H%2").arg(layer_).arg(head_), patterns_->recurrent(layer_),
      headNumberTexts(patterns_->run()->result, layer_, head_, facts ? labelText(facts->info.source, 120) : QString()));
  map_->setTitle(tr("Attention of head %1 in layer %2, %3")
                     .arg(head_)
                     .arg(layer_)
                     .arg(labelText(run()->model()->facts().name, 80)));
  if (!patterns_->exists(layer_, head_)) {
    map_->clear(tr("This layer mixes tokens without an attention matrix: pick a head of another one."));
    markPosition();
    return;
  }
  if (patterns_->tokens() <= kMapAtOnce / patterns_->tokens()) {
    takeMap(patterns_->map(layer_, head_, options_));
    return;
  }
  session_.post(
      tr("Pattern of layer %1, head %2").arg(layer_).arg(head_), QStringLiteral("light"), this,
      [patterns = patterns_, l = layer_, h = head_, options = options_](Progress&) {
        return patterns->map(l, h, options);
      },
      [this, ticket](const Result<HeatMapData>& made) {
        if (made && ticket == mapTicket_) takeMap(made.value());
      },
      QStringLiteral("attention-map-%1").arg(run()->slot()));
}

void AttentionColumn::takeMap(HeatMapData data) {
  // From head to head the same part of the text stays in sight.
  const bool sameText = map_->data().rows == data.rows;
  const QRectF seen = map_->visibleCells();
  std::tie(data.lo, data.hi) = scaleOfHead();
  map_->setData(data);
  if (sameText) map_->setVisibleCells(seen);
  mapThere_ = true;
  markPosition();
}

void AttentionColumn::markPosition() {
  if (!patterns_) return;
  map_->setBrushedRow(query_);
  // The cell last: arrow keys go on with it.
  map_->setSelectedCell(key_ >= 0 ? query_ : -1, key_);
  strip_->setSelected(query_);
  strip_->setCursor(query_);
  if (query_ < 0) {
    stripLabel_->setText(tr("Click a token, or a row of the pattern, to see where it looks"));
    strip_->setValues({}, Look::kPattern, 0, 1);
    strip_->setTitle(tr("Prompt"));
    return;
  }
  const QString word = visibleToken(patterns_->words().at(query_).left(40));
  stripLabel_->setText(tr("Where “%1” (position %2) looks").arg(word).arg(query_));
  strip_->setTitle(tr("Attention from “%1”, layer %2, head %3").arg(word).arg(layer_).arg(head_));
  const std::pair<double, double> scale = mapThere_ ? map_->scale() : scaleOfHead();
  strip_->setValues(patterns_->row(layer_, head_, query_, options_), patterns_->look(layer_, options_), scale.first,
                    scale.second, tr("weight from “%1”").arg(word));
  // Chips stand in the order of the text, so the line is not far from that share of their height.
  if (stripArea_->verticalScrollBar()->maximum() > 0) {
    const double share = static_cast<double>(query_) / static_cast<double>(patterns_->tokens());
    stripArea_->ensureVisible(0, static_cast<int>(share * strip_->heightForWidth(strip_->width())), 0,
                              stripArea_->viewport()->height() / 2);
  }
}

// ---- places --------------------------------------------------------------------------------------------------------

void AttentionColumn::setShare(int arrangement, double share) {
  if (arrangement < 0 || arrangement >= kArrangements || !(share > 0 && share < 1)) return;
  share_[arrangement] = share;
  divide();
}

void AttentionColumn::arrange() {
  const bool upright = width() < 46 * kGrid || width() * 4 < height() * 3;
  const Arrangement next = !upright ? kBeside : height() < 48 * kGrid ? kDense : kAbove;
  // Side by side in a narrow column the numbers go below both pictures, which then have the whole height.
  const bool below = next == kBeside && width() < 70 * kGrid;
  if (next != arrangement_ || below != lineBelow_) {
    arrangement_ = next;
    lineBelow_ = below;
    splitter_->setOrientation(upright ? Qt::Vertical : Qt::Horizontal);
    lowerBox_->setDirection(upright ? QBoxLayout::LeftToRight : QBoxLayout::TopToBottom);
    line_->setUpright(upright);
    if (below) column_->insertWidget(column_->indexOf(splitter_) + 1, line_);
    else (next == kDense ? upperBox_ : lowerBox_)->addWidget(line_);
    (next == kDense ? lowerBox_ : column_)->addWidget(stripArea_);
    stripArea_->setMinimumWidth(0);
    stripArea_->setMaximumSize(QWIDGETSIZE_MAX, QWIDGETSIZE_MAX);
    stripArea_->setMinimumHeight(0);
    stripLabel_->setVisible(next != kDense);
    line_->setContentsMargins(upright ? 0 : kGrid, 0, 0, 0);
  }
  const int numbers = std::min(kNumbersWide, width() * (next == kDense ? 42 : 38) / 100);
  line_->setMinimumWidth(upright ? numbers : 0);
  line_->setMaximumWidth(upright ? numbers : QWIDGETSIZE_MAX);
  if (next == kDense) stripArea_->setFixedWidth(width() * 45 / 100);
  showBar();
  divide();
}

// In a narrow column the grid's bar stands for both where they have one scale: the pattern is the larger.
void AttentionColumn::showBar() {
  map_->setShowColourBar(!(scales_ && (arrangement_ != kBeside || lineBelow_) && width() < 56 * kGrid));
}

void AttentionColumn::divide() {
  const int room = std::max(2, arrangement_ == kBeside ? splitter_->width() : splitter_->height());
  const int first = static_cast<int>(room * share_[arrangement_]);
  splitter_->setSizes({first, room - first});
}

int AttentionColumn::stripWanted() const {
  // The area itself gets its width only when the layout comes to it.
  const QMargins m = layout()->contentsMargins();
  return std::clamp(strip_->heightForWidth(std::max(8 * kGrid, width() - m.left() - m.right())), 4 * kGrid,
                    std::max(5 * kGrid, height() * 28 / 100));
}

void AttentionColumn::setStripHeight(int height) {
  if (arrangement_ != kDense) stripArea_->setFixedHeight(height);
}

void AttentionColumn::resizeEvent(QResizeEvent* event) {
  PromptRunPane::resizeEvent(event);
  arrange();
  Q_EMIT stripChanged();
}

}  // namespace microtome::desktop
