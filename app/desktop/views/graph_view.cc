#include "app/desktop/views/graph_view.h"

#include <QEvent>
#include <QMenu>
#include <QMetaObject>
#include <QPainter>
#include <QThreadPool>
#include <QVBoxLayout>
#include <QtGlobal>
#include <atomic>
#include <cmath>
#include <mutex>

#include "app/desktop/views/graph_canvas.h"
#include "app/desktop/views/map_text.h"

namespace microtome::desktop {
namespace {

// The strip below the canvas.
class LegendStrip : public QWidget {
 public:
  LegendStrip(const GraphState& state, const GraphCanvas& canvas, QWidget* parent)
      : QWidget(parent), state_(state), canvas_(canvas) {
    setFixedHeight(kLegendHeight);
  }

 protected:
  void paintEvent(QPaintEvent*) override {
    QPainter painter(this);
    painter.fillRect(rect(), state_.theme->surface);
    painter.fillRect(QRect(0, 0, width(), 1), state_.theme->faint);
    if (!state_.data.nodes.empty()) paintLegend(painter, state_, QRectF(rect()), canvas_.scale());
  }

 private:
  const GraphState& state_;
  const GraphCanvas& canvas_;
};

// One thread for graphviz, owned by the application, which waits for it when it ends.
QThreadPool* layoutPool() {
  const QString name = QStringLiteral("graph layout");
  if (auto* pool = qApp->findChild<QThreadPool*>(name, Qt::FindDirectChildrenOnly)) return pool;
  auto* pool = new QThreadPool(qApp);
  pool->setObjectName(name);
  pool->setMaxThreadCount(1);
  pool->setStackSize(64u << 20);       // dot follows edges by recursion
  return pool;
}

}  // namespace

struct GraphView::Impl {
  // What a worker sees of the view, which may be gone when dot is done.
  struct Channel {
    std::mutex lock;
    GraphView* view = nullptr;
  };

  GraphState state;
  GraphCanvas* canvas = nullptr;
  LegendStrip* legend = nullptr;
  std::shared_ptr<Channel> channel = std::make_shared<Channel>();
  std::shared_ptr<std::atomic<bool>> layout;   // set to cancel; null: none runs

  void stopLayout() {
    if (layout) layout->store(true);
    layout.reset();
  }
  void startLayout();
  // What the menu and the keys act on: the marked nodes, or the selected one.
  std::set<int> chosen() const {
    if (!state.marked.empty()) return state.marked;
    return state.selected >= 0 ? std::set<int>{state.selected} : std::set<int>{};
  }
};

void GraphView::Impl::startLayout() {
  if (state.data.grid) return;
  std::vector<std::pair<int, int>> edges;
  if (state.edges->records.size() <= 6000) {
    for (const EdgeRecord& r : state.edges->records) edges.emplace_back(r.from, r.to);
    if (edges.size() != state.edges->total || !layout::suits_dot(state.layout, edges)) return;
  } else {
    return;
  }
  layout = std::make_shared<std::atomic<bool>>(false);
  layoutPool()->start([nodes = state.layout, edges = std::move(edges), mine = layout, channel = channel] {
    std::vector<double> x = layout::dot_columns(nodes, edges, *mine);
    const std::lock_guard<std::mutex> lock(channel->lock);
    if (!channel->view || mine->load()) return;
    GraphView* view = channel->view;
    QMetaObject::invokeMethod(
        view,
        [view, mine, x = std::move(x)] {
          Impl& self = *view->impl_;
          if (self.layout != mine) return;               // another graph since
          self.layout.reset();
          if (!x.empty()) {
            self.state.setColumns(x);
            self.canvas->graphChanged();
            if (self.canvas->isFitted()) self.canvas->fit();
          }
          Q_EMIT view->layoutDone();
        },
        Qt::QueuedConnection);
  });
}

GraphView::GraphView(QWidget* parent) : View(parent), impl_(std::make_unique<Impl>()) {
  Impl& d = *impl_;
  d.channel->view = this;
  d.state.theme = &Theme::of(this);
  d.state.emptyText = tr("No circuit yet: run a circuit analysis, or open one from the project.");
  d.canvas = new GraphCanvas(d.state, this);
  d.legend = new LegendStrip(d.state, *d.canvas, this);
  auto* box = new QVBoxLayout(this);
  box->setContentsMargins(0, 0, 0, 0);
  box->setSpacing(0);
  box->addWidget(d.canvas, 1);
  box->addWidget(d.legend);
  setFocusPolicy(Qt::StrongFocus);
  setFocusProxy(d.canvas);
  setMinimumSize(160, 120);
  d.canvas->graphChanged();

  connect(d.canvas, &GraphCanvas::nodeClicked, this, &GraphView::nodeClicked);
  connect(d.canvas, &GraphCanvas::nodeActivated, this, &GraphView::nodeActivated);
  connect(d.canvas, &GraphCanvas::cleared, this, &GraphView::selectionCleared);
  connect(d.canvas, &GraphCanvas::hovered, this, &View::hoverText);
  connect(d.canvas, &GraphCanvas::scaled, this, [this] { impl_->legend->update(); });
  connect(d.canvas, &GraphCanvas::edgeClicked, this, [this](int record) {
    Q_EMIT edgeClicked(impl_->state.edges->records[static_cast<size_t>(record)].edge);
  });
  connect(d.canvas, &GraphCanvas::nodeDropped, this, [this](int node) {
    setPinned(node, true);
    Q_EMIT edited();
  });
  connect(d.canvas, &GraphCanvas::keyUsed, this, [this](int key) {
    QMenu menu;
    addActions(menu);
    const char* name = key == Qt::Key_P ? "pin" : key == Qt::Key_N ? "annotate" : "group";
    const QLatin1String wanted(name);
    for (QAction* action : menu.actions())
      if (action->objectName() == wanted && action->isEnabled()) action->trigger();
  });
}

GraphView::~GraphView() {
  impl_->stopLayout();
  {
    const std::lock_guard<std::mutex> lock(impl_->channel->lock);
    impl_->channel->view = nullptr;
  }
  // The children read the state: they go first.
  delete impl_->legend;
  delete impl_->canvas;
}

void GraphView::setGraph(GraphData data, bool keepView) {
  Impl& d = *impl_;
  d.stopLayout();
  d.canvas->letGo();
  d.state.set(std::move(data));
  d.legend->setToolTip(toolTipText(d.state.data.help));
  d.canvas->graphChanged();
  if (keepView && !d.canvas->isFitted() && !d.state.data.nodes.empty()) d.canvas->keepScale();
  else d.canvas->fit();
  d.legend->update();
  d.startLayout();
}

void GraphView::clear(const QString& emptyText) {
  if (!emptyText.isEmpty()) impl_->state.emptyText = emptyText;
  setGraph({});
}

const GraphData& GraphView::graph() const { return impl_->state.data; }

void GraphView::setThreshold(double threshold) {
  Impl& d = *impl_;
  const size_t before = d.state.shown;
  d.state.setThreshold(threshold);
  d.legend->update();
  if (d.state.shown != before) d.canvas->edgesChanged();
}

void GraphView::setLevels(const std::vector<double>& levels, double threshold) {
  Impl& d = *impl_;
  d.state.setLevels(levels, threshold);
  d.legend->update();
  d.canvas->edgesChanged();
}

double GraphView::threshold() const { return impl_->state.threshold; }

int GraphView::visibleEdges() const { return static_cast<int>(impl_->state.shown); }

void GraphView::setSelectedNode(int node) {
  GraphState& s = impl_->state;
  if (!s.exists(node)) node = -1;
  if (node == s.selected && s.selectedEdge < 0) return;
  s.selected = node;
  s.selectedEdge = -1;
  impl_->canvas->setAccessibleDescription(s.nodeText(node));
  impl_->canvas->repaintGraph();
}

int GraphView::selectedNode() const { return impl_->state.selected; }

void GraphView::setSelectedEdge(int edge) {
  GraphState& s = impl_->state;
  const int record = s.recordOf(edge);
  const int now = record >= 0 && static_cast<size_t>(record) < s.shown ? record : -1;
  if (now == s.selectedEdge && (now < 0 || s.selected < 0)) return;
  s.selectedEdge = now;
  if (now >= 0) s.selected = -1;
  impl_->canvas->repaintGraph();
}

int GraphView::selectedEdge() const {
  const GraphState& s = impl_->state;
  return s.selectedEdge < 0 ? -1 : s.edges->records[static_cast<size_t>(s.selectedEdge)].edge;
}

void GraphView::setMarked(const std::set<int>& nodes, const std::vector<char>& edges) {
  Impl& d = *impl_;
  std::vector<char> dimmed(edges.size());
  for (size_t i = 0; i < edges.size(); ++i) dimmed[i] = !edges[i];
  const auto before = d.state.edges;
  d.state.setDimmed(dimmed);
  if (d.state.edges != before) d.canvas->edgesChanged();
  if (d.state.ringed == nodes) return;
  d.state.ringed = nodes;
  d.canvas->repaintGraph();
}

void GraphView::setKnockedOut(const std::set<int>& nodes) {
  impl_->state.knockedOut = nodes;
  impl_->canvas->repaintGraph();
}

void GraphView::setPinned(int node, bool pinned) {
  if (!impl_->state.exists(node)) return;
  impl_->state.pinned[static_cast<size_t>(node)] = pinned;
  impl_->canvas->repaintGraph();
}

bool GraphView::isPinned(int node) const {
  return impl_->state.exists(node) && impl_->state.pinned[static_cast<size_t>(node)];
}

void GraphView::setNodeNote(int node, const QString& note) {
  if (!impl_->state.exists(node)) return;
  impl_->state.data.nodes[static_cast<size_t>(node)].note = note;
  impl_->canvas->repaintGraph();
}

void GraphView::setGroup(const std::set<int>& nodes, const QString& name) {
  for (int node : nodes)
    if (impl_->state.exists(node)) impl_->state.data.nodes[static_cast<size_t>(node)].group = name;
  impl_->canvas->repaintGraph();
}

QPointF GraphView::nodePlace(int node) const { return impl_->state.exists(node) ? impl_->state.place(node).centre : QPointF(); }

void GraphView::setNodePlace(int node, const QPointF& centre) {
  Impl& d = *impl_;
  if (!d.state.exists(node) || !std::isfinite(centre.x()) || !std::isfinite(centre.y()) || nodePlace(node) == centre) return;
  d.state.moveNode(node, centre);
  d.state.routeEdges();
  d.canvas->graphChanged();
}

QPointF GraphView::nodePosition(int node) const {
  if (!impl_->state.exists(node)) return {};
  const QPointF at = impl_->canvas->viewportTransform().map(impl_->state.place(node).centre);
  return at + QPointF(impl_->canvas->viewport()->mapTo(this, QPoint()));
}

QPointF GraphView::edgePosition(int edge) const {
  const EdgeScene scene = impl_->state.scene();
  for (size_t i = 0; i < scene.edges->records.size(); ++i) {
    if (scene.edges->records[i].edge != edge) continue;
    return impl_->canvas->viewportTransform().map(edgeCurve(scene, i).at(0.5)) +
           QPointF(impl_->canvas->viewport()->mapTo(this, QPoint()));
  }
  return {};
}

void GraphView::zoomToFit() { impl_->canvas->fit(); }
bool GraphView::isFitted() const { return impl_->canvas->isFitted(); }
void GraphView::moveView(const QPointF& pixels) { impl_->canvas->moveView(pixels); }

void GraphView::drawPicture(QPainter& painter, const QSizeF& size) const {
  const GraphState& s = impl_->state;
  const QRectF area(0, 0, size.width(), std::max(1.0, size.height() - kLegendHeight));
  painter.save();
  painter.setRenderHint(QPainter::Antialiasing);
  if (s.data.nodes.empty()) {
    painter.setPen(s.theme->muted);
    painter.drawText(area, Qt::AlignCenter | Qt::TextWordWrap, s.emptyText);
    painter.restore();
    return;
  }
  const QRectF inner = area.adjusted(kRankNameWidth, kGrid, -kRankNameWidth, -kGrid);
  const double scale = std::max(1e-6, std::min({inner.width() / s.bounds.width(), inner.height() / s.bounds.height(), 2.0}));
  const QTransform place = QTransform::fromTranslate(-s.bounds.center().x(), -s.bounds.center().y()) *
                           QTransform::fromScale(scale, scale) *
                           QTransform::fromTranslate(area.center().x(), area.center().y());
  const QRectF seen = place.inverted().mapRect(area);

  auto inScene = [&](auto&& paint) {
    painter.save();
    painter.setTransform(place, true);
    paint();
    painter.restore();
  };
  inScene([&] { paintRankStripes(painter, s, seen); });
  inScene([&] { paintGroups(painter, s); });
  painter.save();
  EdgeBrush brush;
  brush.presence = somethingStandsOut(s) ? kSteppedBack : 1;
  paintEdges(painter, s.scene(), 0, s.shown, place, brush);
  paintStandingOut(painter, s, place, {});
  painter.restore();
  // Whatever the size: a saved picture can be enlarged, so its labels are all there.
  inScene([&] {
    paintNodes(painter, s, 1, seen);
    paintGroupNames(painter, s);
  });
  paintRankNames(painter, s, place, area);
  paintLegend(painter, s, QRectF(0, area.bottom(), size.width(), kLegendHeight), scale);
  painter.restore();
}

QString GraphView::csv() const {
  const GraphState& s = impl_->state;
  if (s.data.nodes.empty()) return {};
  QString out = QStringLiteral("from,to,port,score\r\n");
  for (size_t i = 0; i < s.shown; ++i) {
    const GraphEdge& e = s.data.edges[static_cast<size_t>(s.edges->records[i].edge)];
    out += csvField(s.data.nodes[static_cast<size_t>(e.from)].name) + QLatin1Char(',') +
           csvField(s.data.nodes[static_cast<size_t>(e.to)].name) + QLatin1Char(',') + csvField(e.port) + QLatin1Char(',') +
           (std::isnan(e.score) ? QString() : QString::number(e.score, 'g', 9)) + QStringLiteral("\r\n");
  }
  return out;
}

void GraphView::addActions(QMenu& menu) {
  Impl& d = *impl_;
  const std::set<int> nodes = d.chosen();
  const int node = d.state.selected >= 0 ? d.state.selected : nodes.empty() ? -1 : *nodes.begin();
  menu.addAction(tr("Fit"), this, &GraphView::zoomToFit)->setObjectName(QStringLiteral("fit"));

  bool allPinned = !nodes.empty();
  for (int i : nodes) allPinned = allPinned && isPinned(i);
  QAction* pin = menu.addAction(allPinned ? tr("Unpin") : tr("Pin"), this, [this, nodes, allPinned] {
    for (int i : nodes) setPinned(i, !allPinned);
    Q_EMIT edited();
  });
  pin->setObjectName(QStringLiteral("pin"));
  pin->setEnabled(!nodes.empty());

  QAction* annotate = menu.addAction(tr("Annotate…"), this, [this, node] {
    if (!impl_->state.exists(node)) return;              // the graph changed while the menu was open
    const QString before = graph().nodes[static_cast<size_t>(node)].note;
    impl_->canvas->ask(node, tr("Note; empty takes it away"), before, [this, node](const QString& text) {
      if (!impl_->state.exists(node) || graph().nodes[static_cast<size_t>(node)].note == text) return;
      setNodeNote(node, text);
      Q_EMIT edited();
    });
  });
  annotate->setObjectName(QStringLiteral("annotate"));
  annotate->setEnabled(node >= 0);

  const QString grouping = nodes.size() > 1 ? tr("Group %1 nodes…").arg(nodes.size()) : tr("Group…");
  QAction* group = menu.addAction(grouping, this, [this, nodes, node] {
    if (!impl_->state.exists(node)) return;
    impl_->canvas->ask(node, tr("Name of the group; empty takes it away"), graph().nodes[static_cast<size_t>(node)].group,
                       [this, nodes](const QString& name) {
                         setGroup(nodes, name);
                         Q_EMIT edited();
                       });
  });
  group->setObjectName(QStringLiteral("group"));
  group->setToolTip(tr("Ctrl+click marks further nodes, Shift+drag those in a frame."));
  group->setEnabled(node >= 0);
  Q_EMIT menuMade(&menu);
}

void GraphView::changeEvent(QEvent* event) {
  View::changeEvent(event);
  if (event->type() != QEvent::PaletteChange && event->type() != QEvent::StyleChange) return;
  if (!impl_ || !impl_->canvas) return;
  const Theme* now = &Theme::of(this);
  if (now == impl_->state.theme) return;
  impl_->state.theme = now;
  impl_->canvas->graphChanged();
  impl_->legend->update();
}

}  // namespace microtome::desktop
