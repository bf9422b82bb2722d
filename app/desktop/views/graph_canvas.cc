#include "app/desktop/views/graph_canvas.h"

#include <QApplication>
#include <QContextMenuEvent>
#include <QHelpEvent>
#include <QKeyEvent>
#include <QLineEdit>
#include <QMouseEvent>
#include <QPainter>
#include <QRubberBand>
#include <QScrollBar>
#include <QToolTip>
#include <QWheelEvent>
#include <algorithm>
#include <cmath>

namespace microtome::desktop {
namespace {

constexpr double kReach = 5;           // pixels within which an edge is meant
constexpr double kMostScale = 8, kFitMost = 1.6;

}  // namespace

GraphCanvas::GraphCanvas(GraphState& state, QWidget* parent) : QGraphicsView(parent), state_(state) {
  setScene(&scene_);
  scene_.setItemIndexMethod(QGraphicsScene::NoIndex);
  groups_ = new GraphItem(GraphItem::Part::kGroups, state_);
  edges_ = new GraphItem(GraphItem::Part::kEdges, state_, &layer_);
  nodes_ = new GraphItem(GraphItem::Part::kNodes, state_);
  for (GraphItem* item : {groups_, edges_, nodes_}) scene_.addItem(item);
  setFrameShape(QFrame::NoFrame);
  setHorizontalScrollBarPolicy(Qt::ScrollBarAlwaysOff);
  setVerticalScrollBarPolicy(Qt::ScrollBarAlwaysOff);
  setTransformationAnchor(NoAnchor);
  setResizeAnchor(NoAnchor);
  // Edges are one copied picture: to redraw all of it is cheaper than to find out what changed.
  setViewportUpdateMode(FullViewportUpdate);
  setOptimizationFlags(DontSavePainterState | DontAdjustForAntialiasing);
  setMouseTracking(true);
  setFocusPolicy(Qt::StrongFocus);
  setAccessibleName(tr("Circuit graph"));
  connect(&layer_, &EdgeLayer::changed, this, [this] { viewport()->update(); });
}

GraphCanvas::~GraphCanvas() = default;

QPointF GraphCanvas::toScene(const QPointF& pos) const { return viewportTransform().inverted().map(pos); }

int GraphCanvas::nodeAt(const QPointF& pos) const { return state_.nodeAt(toScene(pos), 2 / scale()); }

int GraphCanvas::edgeAt(const QPointF& pos) const {
  EdgeScene now = layer_.scene();
  now.places = state_.places;
  return nearestEdge(now, toScene(pos), kReach / scale());
}

void GraphCanvas::graphChanged() {
  setRoom();
  setBackgroundBrush(state_.theme->surface);
  edgesChanged();
}

void GraphCanvas::edgesChanged() {
  EdgeScene now = state_.scene();
  if (drag_ == Drag::kNode && moved_) now.without = dragged_;
  layer_.setScene(std::move(now));
  viewport()->update();
}

void GraphCanvas::letGo() {
  drag_ = Drag::kNone;
  dragged_ = -1;
  moved_ = false;
  viewport()->unsetCursor();
  if (band_) band_->hide();
  if (line_) line_->deleteLater();
  line_ = nullptr;
}

double GraphCanvas::fitScale() const {
  if (state_.bounds.isEmpty()) return 1;
  const double w = std::max(40.0, viewport()->width() - 2.0 * kRankNameWidth);
  const double h = std::max(40.0, viewport()->height() - 2.0 * kGrid);
  return std::min(kFitMost, std::min(w / state_.bounds.width(), h / state_.bounds.height()));
}

void GraphCanvas::setRoom() {
  // Room to push the graph about, at the farthest zoom too.
  const double fitting = fitScale();
  const double w = 3 * viewport()->width() / fitting, h = 3 * viewport()->height() / fitting;
  const QPointF c = state_.bounds.center();
  QRectF room(c.x() - w, c.y() - h, 2 * w, 2 * h);
  room |= state_.bounds.adjusted(-w / 2, -h / 2, w / 2, h / 2);
  // A node dragged far out widens it, never back: that would make the view jump.
  if (sceneRect().contains(room) && drag_ != Drag::kNone) return;
  const QPointF middle = toScene(QRectF(viewport()->rect()).center());
  scene_.setSceneRect(room);
  setSceneRect(room);
  for (GraphItem* item : {groups_, edges_, nodes_}) item->setArea(room);
  panBy(QRectF(viewport()->rect()).center() - viewportTransform().map(middle));
}

void GraphCanvas::fit() {
  fitted_ = true;
  setRoom();
  const double s = fitScale();
  setTransform(QTransform::fromScale(s, s));
  const QPointF middle = viewportTransform().map(state_.bounds.center());
  panBy(QRectF(viewport()->rect()).center() - middle);
  viewMoved();
  Q_EMIT scaled();
}

void GraphCanvas::keepScale() {
  setRoom();
  viewMoved();
}

void GraphCanvas::moveView(const QPointF& pixels) {
  panBy(pixels);
  viewMoved();
}

void GraphCanvas::panBy(const QPointF& pixels) {
  horizontalScrollBar()->setValue(horizontalScrollBar()->value() - static_cast<int>(std::lround(pixels.x())));
  verticalScrollBar()->setValue(verticalScrollBar()->value() - static_cast<int>(std::lround(pixels.y())));
}

void GraphCanvas::setScale(double to, const QPointF& about) {
  const double fitting = fitScale();
  to = std::clamp(to, fitting * 0.25, std::max(kMostScale, fitting));
  const QPointF held = toScene(about);
  setTransform(QTransform::fromScale(to, to));
  panBy(about - viewportTransform().map(held));
  fitted_ = false;
  viewMoved();
  Q_EMIT scaled();
}

void GraphCanvas::zoomBy(double factor, const QPointF& about) { setScale(scale() * factor, about); }

void GraphCanvas::viewMoved() {
  layer_.setView(viewportTransform(), QSizeF(viewport()->size()), devicePixelRatioF());
  viewport()->update();
}

void GraphCanvas::scrollContentsBy(int dx, int dy) {
  QGraphicsView::scrollContentsBy(dx, dy);
  viewMoved();
}

void GraphCanvas::resizeEvent(QResizeEvent* event) {
  QGraphicsView::resizeEvent(event);
  if (fitted_) {
    fit();
    return;
  }
  setRoom();
  viewMoved();
}

void GraphCanvas::reveal(int node) {
  if (!state_.exists(node)) return;
  const QPointF at = viewportTransform().map(state_.place(node).centre);
  const QRectF inside = QRectF(viewport()->rect()).adjusted(48, 32, -32, -32);
  if (inside.contains(at) || inside.isEmpty()) return;
  fitted_ = false;
  panBy(QPointF(std::clamp(at.x(), inside.left(), inside.right()), std::clamp(at.y(), inside.top(), inside.bottom())) - at);
}

void GraphCanvas::drawBackground(QPainter* painter, const QRectF& rect) {
  painter->fillRect(rect, state_.theme->surface);
  paintRankStripes(*painter, state_, rect);
}

void GraphCanvas::drawForeground(QPainter* painter, const QRectF&) {
  painter->resetTransform();
  painter->setRenderHint(QPainter::Antialiasing);
  const QRectF area(viewport()->rect());
  paintRankNames(*painter, state_, viewportTransform(), area);
  if (state_.data.nodes.empty()) {
    painter->setFont(QApplication::font());
    painter->setPen(state_.theme->muted);
    painter->drawText(area.adjusted(4 * kGrid, kGrid, -4 * kGrid, -kGrid), Qt::AlignCenter | Qt::TextWordWrap,
                      state_.emptyText);
  }
  if (hasFocus()) {
    painter->setBrush(Qt::NoBrush);
    painter->setPen(QPen(state_.theme->accent, 1));
    painter->drawRect(area.adjusted(0.5, 0.5, -0.5, -0.5));
  }
}

void GraphCanvas::wheelEvent(QWheelEvent* event) {
  const double steps = event->angleDelta().y() / 120.0;
  if (steps != 0 && !state_.data.nodes.empty()) zoomBy(std::pow(1.2, std::clamp(steps, -10.0, 10.0)), event->position());
  event->accept();
}

void GraphCanvas::mousePressEvent(QMouseEvent* event) {
  event->accept();
  if (event->button() == Qt::MiddleButton || event->button() == Qt::LeftButton) {
    pressed_ = last_ = event->position();
    moved_ = false;
    dragged_ = event->button() == Qt::LeftButton ? nodeAt(pressed_) : -1;
    drag_ = dragged_ >= 0 ? Drag::kNode : event->modifiers() & Qt::ShiftModifier ? Drag::kMark : Drag::kPan;
    if (dragged_ >= 0) grip_ = state_.place(dragged_).centre - toScene(pressed_);
  }
}

void GraphCanvas::mouseMoveEvent(QMouseEvent* event) {
  event->accept();
  const QPointF pos = event->position();
  if (drag_ == Drag::kNone) return hoverAt(pos);
  if (!moved_) {
    if ((pos - pressed_).manhattanLength() < QApplication::startDragDistance()) return;
    moved_ = true;
    QToolTip::hideText();
    if (drag_ == Drag::kNode) edgesChanged();            // its own edges are drawn live from now on
    else if (drag_ == Drag::kPan) viewport()->setCursor(Qt::ClosedHandCursor);
  }
  if (drag_ == Drag::kPan) {
    fitted_ = false;
    // Scroll bars know whole pixels: what they could not do is left for the next move.
    const QPointF whole((pos - last_).toPoint());
    panBy(whole);
    last_ += whole;
  } else if (drag_ == Drag::kNode) {
    state_.moveNode(dragged_, toScene(pos) + grip_);
    viewport()->update();
  } else {
    if (!band_) band_ = new QRubberBand(QRubberBand::Rectangle, viewport());
    band_->setGeometry(QRectF(pressed_, pos).normalized().toRect());
    band_->show();
  }
}

void GraphCanvas::mouseReleaseEvent(QMouseEvent* event) {
  event->accept();
  const Drag was = drag_;
  drag_ = Drag::kNone;
  viewport()->unsetCursor();
  if (was == Drag::kNone) return;
  if (!moved_) {
    if (event->button() == Qt::LeftButton) click(event->position(), event->modifiers());
  } else if (was == Drag::kNode) {
    const int node = dragged_;
    dragged_ = -1;
    state_.routeEdges();
    graphChanged();
    Q_EMIT nodeDropped(node);
  } else if (was == Drag::kMark && band_) {
    band_->hide();
    const QRectF area(toScene(QRectF(pressed_, event->position()).normalized().topLeft()),
                      toScene(QRectF(pressed_, event->position()).normalized().bottomRight()));
    state_.marked.clear();
    for (int i = 0; i < state_.nodeCount(); ++i)
      if (area.contains(state_.place(i).centre)) state_.marked.insert(i);
    viewport()->update();
  }
  dragged_ = -1;
  moved_ = false;
}

void GraphCanvas::click(const QPointF& pos, Qt::KeyboardModifiers keys) {
  const int node = nodeAt(pos);
  if (node >= 0 && (keys & Qt::ControlModifier)) {
    // The first Ctrl+click takes along what is selected.
    if (state_.marked.empty() && state_.selected >= 0) state_.marked.insert(state_.selected);
    if (!state_.marked.erase(node)) state_.marked.insert(node);
    viewport()->update();
    return;
  }
  state_.marked.clear();
  if (node >= 0) {
    state_.selected = node;
    state_.selectedEdge = -1;
    Q_EMIT nodeClicked(node);
  } else if (const int edge = edgeAt(pos); edge >= 0) {
    state_.selected = -1;
    state_.selectedEdge = edge;
    Q_EMIT edgeClicked(edge);
  } else {
    state_.selected = state_.selectedEdge = -1;
    Q_EMIT cleared();
  }
  viewport()->update();
}

void GraphCanvas::mouseDoubleClickEvent(QMouseEvent* event) {
  event->accept();
  const int node = nodeAt(event->position());
  if (event->button() == Qt::LeftButton && node >= 0) Q_EMIT nodeActivated(node);
}

void GraphCanvas::contextMenuEvent(QContextMenuEvent* event) {
  // The menu is about the node below the mouse. The view itself opens it.
  if (event->reason() == QContextMenuEvent::Mouse) {
    const int node = nodeAt(event->pos());
    if (node >= 0 && node != state_.selected && !state_.marked.count(node)) click(event->pos(), {});
  }
  event->ignore();
}

void GraphCanvas::hoverAt(const QPointF& pos) {
  const int node = nodeAt(pos);
  if (node != state_.hovered) {
    state_.hovered = node;
    viewport()->update();
  }
  Q_EMIT hovered(node >= 0 ? state_.nodeText(node) : state_.edgeText(edgeAt(pos)));
}

bool GraphCanvas::viewportEvent(QEvent* event) {
  if (event->type() == QEvent::ToolTip) {
    const auto* help = static_cast<QHelpEvent*>(event);
    const int node = nodeAt(help->pos());
    const int edge = node >= 0 ? -1 : edgeAt(help->pos());
    QString text = state_.nodeHtml(node);
    if (edge >= 0) text = QStringLiteral("<p>%1</p>").arg(state_.edgeText(edge).toHtmlEscaped());
    if (text.isEmpty()) QToolTip::hideText();
    else QToolTip::showText(help->globalPos(), text, viewport());
    return true;
  }
  if (event->type() == QEvent::Leave) {
    if (state_.hovered >= 0) viewport()->update();
    state_.hovered = -1;
    Q_EMIT hovered({});
  }
  return QGraphicsView::viewportEvent(event);
}

void GraphCanvas::keyPressEvent(QKeyEvent* event) {
  const QPointF middle = QRectF(viewport()->rect()).center();
  auto step = [&](int dx, int dy) {
    const int next = state_.neighbour(state_.selected, dx, dy);
    if (next < 0) return;
    state_.selected = next;
    state_.selectedEdge = -1;
    state_.marked.clear();
    reveal(next);
    setAccessibleDescription(state_.nodeText(next));
    viewport()->update();
    Q_EMIT hovered(state_.nodeText(next));
    Q_EMIT nodeClicked(next);
  };
  switch (event->key()) {
    case Qt::Key_Left: step(-1, 0); break;
    case Qt::Key_Right: step(1, 0); break;
    case Qt::Key_Up: step(0, 1); break;
    case Qt::Key_Down: step(0, -1); break;
    case Qt::Key_Plus:
    case Qt::Key_Equal: zoomBy(1.25, middle); break;
    case Qt::Key_Minus: zoomBy(0.8, middle); break;
    case Qt::Key_0: fit(); break;
    case Qt::Key_Return:
    case Qt::Key_Enter:
      if (state_.selected >= 0) Q_EMIT nodeActivated(state_.selected);
      break;
    case Qt::Key_Escape:
      if (state_.selected < 0 && state_.selectedEdge < 0 && state_.marked.empty()) return event->ignore();
      state_.selected = state_.selectedEdge = -1;
      state_.marked.clear();
      viewport()->update();
      Q_EMIT cleared();
      break;
    case Qt::Key_P:
    case Qt::Key_N:
    case Qt::Key_G:
      if (event->modifiers() != Qt::NoModifier) return event->ignore();
      Q_EMIT keyUsed(event->key());
      break;
    default: event->ignore(); return;
  }
  event->accept();
}

void GraphCanvas::focusInEvent(QFocusEvent* event) {
  QGraphicsView::focusInEvent(event);
  viewport()->update();
}

void GraphCanvas::focusOutEvent(QFocusEvent* event) {
  QGraphicsView::focusOutEvent(event);
  viewport()->update();
}

void GraphCanvas::ask(int node, const QString& label, const QString& text, std::function<void(const QString&)> done) {
  if (!state_.exists(node)) return;
  reveal(node);
  if (line_) line_->deleteLater();
  auto* line = line_ = new QLineEdit(text, viewport());
  line->setPlaceholderText(label);
  line->setAccessibleName(label);
  line->setMaxLength(400);
  line->setFixedWidth(30 * kGrid);
  line->installEventFilter(this);
  const NodePlace& p = state_.place(node);
  const QPoint below = viewportTransform().map(p.centre + QPointF(0, p.half.height() + 4)).toPoint();
  const QRect room = viewport()->rect().adjusted(kGrid, kGrid, -kGrid, -kGrid);
  line->move(std::clamp(below.x() - line->width() / 2, room.left(), std::max(room.left(), room.right() - line->width())),
             std::clamp(below.y(), room.top(), std::max(room.top(), room.bottom() - line->sizeHint().height())));
  connect(line, &QLineEdit::editingFinished, this, [this, line, done] {
    if (line_ != line) return;                           // Esc, or done before
    line_ = nullptr;
    const QString written = line->text().trimmed();
    line->deleteLater();
    setFocus();
    done(written);
  });
  line->show();
  line->selectAll();
  line->setFocus();
}

bool GraphCanvas::eventFilter(QObject* watched, QEvent* event) {
  if (watched == line_ && event->type() == QEvent::KeyPress && static_cast<QKeyEvent*>(event)->key() == Qt::Key_Escape) {
    QLineEdit* line = line_;
    line_ = nullptr;
    line->deleteLater();
    setFocus();
    return true;
  }
  if (watched == line_ && event->type() == QEvent::KeyPress &&
      (static_cast<QKeyEvent*>(event)->key() == Qt::Key_Return || static_cast<QKeyEvent*>(event)->key() == Qt::Key_Enter)) {
    // A line edit passes Enter on to what is around it, where it would open the node.
    Q_EMIT line_->editingFinished();
    return true;
  }
  return QGraphicsView::eventFilter(watched, event);
}

}  // namespace microtome::desktop
