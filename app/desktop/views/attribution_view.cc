#include "app/desktop/views/attribution_view.h"

#include <QCheckBox>
#include <QDoubleSpinBox>
#include <QEvent>
#include <QHBoxLayout>
#include <QLabel>
#include <QLineF>
#include <QLocale>
#include <QSlider>
#include <QSplitter>
#include <QTextBrowser>
#include <QVBoxLayout>
#include <algorithm>
#include <cmath>

#include "app/desktop/theme/theme.h"
#include "app/desktop/views/flow_layout.h"
#include "app/desktop/views/label_text.h"

namespace microtome::desktop {
namespace {

using Kind = AttributionGraph::Kind;
constexpr int kSteps = 1000;

// More is kept the further right: a share is dense near 1, where the last percent holds most nodes.
double shareAt(int step) { return 1 - std::pow(1 - static_cast<double>(step) / kSteps, 2); }
int stepAt(double share) { return static_cast<int>(std::lround((1 - std::sqrt(std::max(0.0, 1 - share))) * kSteps)); }

}  // namespace

AttributionView::AttributionView(QWidget* parent) : QWidget(parent) {
  auto* column = new QVBoxLayout(this);
  column->setContentsMargins(0, 0, 0, 0);
  column->setSpacing(kGrid / 2);
  auto* bar = new QWidget(this);
  auto* row = new QHBoxLayout(bar);
  row->setContentsMargins(0, 0, 0, 0);
  row->setSpacing(kGrid);
  bars_[0] = makeShare(tr("nodes"), "attribution_nodes",
                       tr("Share of all influence on the logits that the kept nodes have: the fewest that reach it are kept, as many as the run kept at most (circuit-tracer prunes to 0.8)"), 0, bar);
  bars_[1] = makeShare(tr("edges"), "attribution_edges", tr("Share of the influence that flows through the kept edges: the fewest that reach it are kept (circuit-tracer: 0.98)"), 1, bar);
  errors_ = new QCheckBox(tr("Errors"), bar);
  errors_->setObjectName(QStringLiteral("attribution_errors"));
  errors_->setChecked(true);
  errors_->setToolTip(tr("Draw error nodes: what a layer's transcoder leaves unexplained at a position"));
  row->addWidget(errors_);
  column->addWidget(bar);
  splitter_ = new QSplitter(Qt::Horizontal, this);
  splitter_->setChildrenCollapsible(false);
  canvas_ = new GraphView(splitter_);
  canvas_->setObjectName(QStringLiteral("attribution_canvas"));
  words_ = new QTextBrowser(splitter_);
  words_->setObjectName(QStringLiteral("attribution_words"));
  words_->setAccessibleName(tr("What is selected"));
  words_->setOpenLinks(false);
  words_->setOpenExternalLinks(false);
  words_->setFrameShape(QFrame::NoFrame);
  words_->setMinimumWidth(24 * kGrid);
  splitter_->addWidget(canvas_);
  splitter_->addWidget(words_);
  splitter_->setStretchFactor(0, 1);
  splitter_->setStretchFactor(1, 0);
  splitter_->setSizes({70 * kGrid, 30 * kGrid});
  column->addWidget(splitter_, 1);
  setFocusProxy(canvas_);

  connect(errors_, &QCheckBox::toggled, this, [this] { prune(); });
  connect(canvas_, &GraphView::nodeClicked, this, [this](int drawn) { select(picture_.nodes[static_cast<size_t>(drawn)], -1, true); });
  connect(canvas_, &GraphView::edgeClicked, this, [this](int drawn) { select(-1, picture_.edges[static_cast<size_t>(drawn)], true); });
  connect(canvas_, &GraphView::selectionCleared, this, [this] { select(-1, -1, true); });
  connect(words_, &QTextBrowser::anchorClicked, this, [this](const QUrl& url) {
    const QStringList parts = url.toString().split(QLatin1Char(':'));
    if (parts.size() == 2 && parts[0] == QLatin1String("node")) select(parts[1].toInt(), -1, true);
    if (parts.size() == 2 && parts[0] == QLatin1String("edge")) select(-1, parts[1].toInt(), true);
    if (parts.size() == 3 && parts[0] == QLatin1String("feature")) Q_EMIT featureWanted(parts[1].toLongLong(), parts[2].toLongLong());
  });
  canvas_->clear(tr("No graph yet."));
  describe();
}

AttributionView::Share AttributionView::makeShare(const QString& name, const char* object, const QString& tip, int which, QWidget* bar) {
  Share s;
  auto* label = new QLabel(name, bar);
  label->setProperty("role", QStringLiteral("muted"));
  s.slider = new QSlider(Qt::Horizontal, bar);
  s.slider->setObjectName(QString::fromLatin1(object));
  s.slider->setRange(0, kSteps);
  s.slider->setPageStep(kSteps / 20);
  s.slider->setAccessibleName(tr("Share of %1").arg(name));
  s.spin = new QDoubleSpinBox(bar);
  s.spin->setObjectName(QString::fromLatin1(object) + QStringLiteral("_value"));
  s.spin->setLocale(QLocale::c());
  s.spin->setRange(0, 1);
  s.spin->setDecimals(3);
  s.spin->setSingleStep(0.01);
  s.spin->setKeyboardTracking(false);
  s.spin->setAccessibleName(s.slider->accessibleName());
  for (QWidget* w : {static_cast<QWidget*>(label), static_cast<QWidget*>(s.slider), static_cast<QWidget*>(s.spin)}) w->setToolTip(tipText(tip));
  guardWheel(s.slider);
  guardWheel(s.spin);
  label->setBuddy(s.slider);
  bar->layout()->addWidget(label);
  static_cast<QHBoxLayout*>(bar->layout())->addWidget(s.slider, 1);
  bar->layout()->addWidget(s.spin);
  connect(s.slider, &QSlider::valueChanged, this, [this, which](int step) {
    if (!setting_) setShare(which, step == bars_[which].slider->maximum() ? most_[which] : shareAt(step));
  });
  connect(s.spin, &QDoubleSpinBox::valueChanged, this, [this, which](double value) {
    if (!setting_) setShare(which, value);
  });
  return s;
}

void AttributionView::setShare(int which, double value) {
  value = std::isfinite(value) ? std::clamp(value, 0.0, most_[which]) : shares_[which];
  if (value == shares_[which]) return;
  moved_ = true;
  shares_[which] = value;
  setShares(shares_[0], shares_[1]);
}

void AttributionView::setShares(double nodes, double edges) {
  shares_[0] = std::clamp(nodes, 0.0, most_[0]);
  shares_[1] = std::clamp(edges, 0.0, most_[1]);
  setting_ = true;
  for (int i : {0, 1}) {
    if (!bars_[i].slider->isSliderDown()) bars_[i].slider->setValue(stepAt(shares_[i]));
    bars_[i].spin->setValue(shares_[i]);
  }
  setting_ = false;
  prune();
}

void AttributionView::setGraph(std::shared_ptr<const AttributionGraph> graph, const ArtifactContext& context) {
  const bool other = graph != graph_;
  const QString selected = graph_ && node_ >= 0 ? attributionName(*graph_, node_) : QString();
  graph_ = std::move(graph);
  layers_ = context.layers;
  canvas_->setCommand(context.command);
  if (!graph_) {
    pruner_.reset();
    node_ = edge_ = -1;
    cut_ = {};
    picture_ = {};
    canvas_->clear();
    describe();
    Q_EMIT rebuilt();
    return;
  }
  canvas_->setTitle(graph_->title.empty() ? nameText(graph_->name) : labelText(graph_->title));
  canvas_->setSource(context.run, QString::fromStdString(graph_->name));
  if (other) {
    pruner_ = std::make_unique<AttributionPruner>(*graph_);
    node_ = edge_ = -1;
    edgeNote_.clear();
    picture_ = {};
    // A run kept no more than its own thresholds say.
    const double most[] = {graph_->node_threshold, graph_->edge_threshold};
    for (int i : {0, 1}) {
      most_[i] = most[i] > 0 && most[i] < 1 ? most[i] : 1;
      shares_[i] = moved_ ? std::min(shares_[i], most_[i]) : most_[i];
      const QSignalBlocker quietSlider(bars_[i].slider), quietSpin(bars_[i].spin);
      bars_[i].slider->setRange(0, stepAt(most_[i]));
      bars_[i].spin->setRange(0, most_[i]);
    }
  }
  setShares(shares_[0], shares_[1]);
  if (other && !selected.isEmpty()) select(nodeNamed(selected), -1, false);
}

void AttributionView::setNotes(FeatureNotes notes) {
  if (notes.empty() && notes_.empty()) return;
  notes_ = std::move(notes);
  stale_ = true;                       // labels may be others
  prune();
}

void AttributionView::changeEvent(QEvent* event) {
  QWidget::changeEvent(event);
  if (words_ && (event->type() == QEvent::PaletteChange || event->type() == QEvent::StyleChange)) describe();
}

void AttributionView::setEdgeNote(const QString& text) {
  edgeNote_ = text;
  describe();
}

void AttributionView::prune() {
  if (!graph_ || !pruner_) return;
  AttributionCut cut = pruner_->at(shares_[0], shares_[1]);
  std::vector<char> nodes = cut.nodes;
  if (!errors_->isChecked())
    for (size_t i = 0; i < nodes.size(); ++i)
      if (graph_->nodes[i].kind == Kind::kError) nodes[i] = 0;
  std::vector<char> drawn(picture_.shown.size());
  for (size_t i = 0; i < drawn.size(); ++i) drawn[i] = picture_.shown[i] >= 0;
  cut_ = std::move(cut);
  if (drawn == nodes && !picture_.nodes.empty() && !stale_) {
    // The same nodes: only which edges are shown.
    std::vector<double> levels(picture_.edges.size());
    for (size_t e = 0; e < levels.size(); ++e) levels[e] = cut_.edges[static_cast<size_t>(picture_.edges[e])] ? 1 : 0;
    canvas_->setLevels(levels, 0.5);
  } else {
    // Where a person has zoomed in, the node nearest to the middle stays in its place.
    const bool keep = !picture_.nodes.empty() && !canvas_->isFitted();
    const QPointF middle = QRectF(canvas_->rect()).center();
    int held = -1;
    QPointF at;
    for (int i = 0; keep && i < static_cast<int>(picture_.nodes.size()); ++i) {
      if (!nodes[static_cast<size_t>(picture_.nodes[static_cast<size_t>(i)])]) continue;
      const QPointF p = canvas_->nodePosition(i);
      if (held < 0 || QLineF(p, middle).length() < QLineF(at, middle).length()) held = picture_.nodes[static_cast<size_t>(i)], at = p;
    }
    stale_ = false;
    picture_ = pictureOf(*graph_, nodes, cut_.edges, layers_, notes_);
    for (const AttributionGraph::Supernode& s : graph_->supernodes)
      for (int64_t n : s.nodes)
        if (const int at = drawnOf(static_cast<int>(n)); at >= 0) picture_.data.nodes[static_cast<size_t>(at)].group = labelText(s.name, 80);
    canvas_->setThreshold(0.5);
    canvas_->setGraph(picture_.data, keep);
    Q_EMIT rebuilt();
    if (held >= 0) canvas_->moveView(at - canvas_->nodePosition(drawnOf(held)));
  }
  // What is selected may be gone.
  if (node_ >= 0 && drawnOf(node_) < 0) node_ = -1;
  if (edge_ >= 0 && !cut_.edges[static_cast<size_t>(edge_)]) edge_ = -1;
  select(node_, edge_, false);
}

QString AttributionView::ownGroup(int drawn) const {
  return drawn >= 0 && drawn < static_cast<int>(picture_.data.nodes.size()) ? picture_.data.nodes[static_cast<size_t>(drawn)].group : QString();
}

int AttributionView::nodeNamed(const QString& name) const {
  for (size_t i = 0; i < picture_.data.nodes.size(); ++i)
    if (picture_.data.nodes[i].name == name) return picture_.nodes[i];
  return -1;
}

void AttributionView::selectNode(int node) { select(node, -1, false); }
void AttributionView::selectEdge(int edge) { select(-1, edge, false); }

void AttributionView::select(int node, int edge, bool tell) {
  if (!graph_ || node >= static_cast<int>(graph_->nodes.size())) node = -1;
  if (!graph_ || edge >= static_cast<int>(graph_->edges.size())) edge = -1;
  if (edge != edge_) edgeNote_.clear();
  node_ = node;
  edge_ = edge;
  canvas_->setSelectedNode(edge >= 0 ? -1 : drawnOf(node));
  if (edge >= 0) {
    const auto at = std::find(picture_.edges.begin(), picture_.edges.end(), edge);
    canvas_->setSelectedEdge(at == picture_.edges.end() ? -1 : static_cast<int>(at - picture_.edges.begin()));
  } else {
    canvas_->setSelectedEdge(-1);
    canvas_->setSelectedNode(drawnOf(node));
  }
  describe();
  if (!tell) return;
  if (node >= 0) Q_EMIT nodePicked(node);
  else if (edge >= 0) Q_EMIT edgePicked(edge);
  else Q_EMIT pickCleared();
}

AttributionGraph AttributionView::shownGraph() const {
  AttributionGraph out = *graph_;
  std::vector<int64_t> to(graph_->nodes.size(), -1);
  out.nodes.clear();
  out.edges.clear();
  out.supernodes.clear();
  std::map<QString, AttributionGraph::Supernode> groups;
  for (size_t i = 0; i < graph_->nodes.size(); ++i) {
    if (!cut_.nodes[i]) continue;
    to[i] = static_cast<int64_t>(out.nodes.size());
    out.nodes.push_back(graph_->nodes[i]);
    out.nodes.back().in_graph = true;
    const int drawn = drawnOf(static_cast<int>(i));
    const QString group = drawn < 0 ? QString() : canvas_->graph().nodes[static_cast<size_t>(drawn)].group;
    if (!group.isEmpty()) groups[group].nodes.push_back(to[i]);
  }
  for (size_t e = 0; e < graph_->edges.size(); ++e)
    if (cut_.edges[e]) {
      AttributionGraph::Edge edge = graph_->edges[e];
      edge.from = to[static_cast<size_t>(edge.from)];
      edge.to = to[static_cast<size_t>(edge.to)];
      if (edge.from >= 0 && edge.to >= 0) out.edges.push_back(edge);
    }
  for (auto& [name, group] : groups) out.supernodes.push_back({name.toStdString(), std::move(group.nodes)});
  out.node_threshold = shares_[0];
  out.edge_threshold = shares_[1];
  return out;
}

}  // namespace microtome::desktop
