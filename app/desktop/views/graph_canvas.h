// graph_canvas.h — the zoomable surface of a GraphView: turns mouse and keys into zoom, pan, drag and selection, and shows
// the items. It changes the GraphState's places, hover and selection and says so; all else is GraphView's.
#pragma once

#include <QGraphicsScene>
#include <QGraphicsView>
#include <QPointF>
#include <functional>

#include "app/desktop/views/graph_edge_layer.h"
#include "app/desktop/views/graph_items.h"
#include "app/desktop/views/graph_state.h"

class QLineEdit;
class QRubberBand;

namespace microtome::desktop {

class GraphCanvas : public QGraphicsView {
  Q_OBJECT
 public:
  explicit GraphCanvas(GraphState& state, QWidget* parent = nullptr);
  ~GraphCanvas() override;

  void graphChanged();                 // nodes, places or theme are others
  void edgesChanged();                 // other edges are shown
  void letGo();                        // of what is being dragged or written: its node may be gone
  void repaintGraph() { viewport()->update(); }
  void fit();
  void keepScale();                            // another graph at the same scale, its room around it
  void moveView(const QPointF& pixels);
  bool isFitted() const { return fitted_; }    // nobody has zoomed or panned since
  void reveal(int node);               // pans when it is outside
  double scale() const { return transform().m11(); }
  bool edgesSettled() const { return layer_.isSettled(); }
  // A line to write in, beside a node; `done` gets the text on Enter or when the focus leaves, nothing on Esc.
  void ask(int node, const QString& label, const QString& text, std::function<void(const QString&)> done);

 Q_SIGNALS:
  void nodeClicked(int node);
  void nodeActivated(int node);
  void edgeClicked(int record);
  void cleared();
  void hovered(const QString& text);
  void nodeDropped(int node);          // dragged somewhere by hand
  void keyUsed(int key);               // P, N, G: what the menu offers
  void scaled();

 protected:
  void drawBackground(QPainter* painter, const QRectF& rect) override;
  void drawForeground(QPainter* painter, const QRectF& rect) override;
  void wheelEvent(QWheelEvent* event) override;
  void mousePressEvent(QMouseEvent* event) override;
  void mouseMoveEvent(QMouseEvent* event) override;
  void mouseReleaseEvent(QMouseEvent* event) override;
  void mouseDoubleClickEvent(QMouseEvent* event) override;
  void contextMenuEvent(QContextMenuEvent* event) override;
  void keyPressEvent(QKeyEvent* event) override;
  void focusInEvent(QFocusEvent* event) override;
  void focusOutEvent(QFocusEvent* event) override;
  void resizeEvent(QResizeEvent* event) override;
  void scrollContentsBy(int dx, int dy) override;
  bool viewportEvent(QEvent* event) override;
  bool eventFilter(QObject* watched, QEvent* event) override;

 private:
  enum class Drag { kNone, kPan, kNode, kMark };
  void zoomBy(double factor, const QPointF& about);
  void panBy(const QPointF& pixels);
  void setScale(double scale, const QPointF& about);
  double fitScale() const;
  void setRoom();
  void viewMoved();
  QPointF toScene(const QPointF& pos) const;
  int nodeAt(const QPointF& pos) const;
  int edgeAt(const QPointF& pos) const;
  void hoverAt(const QPointF& pos);
  void click(const QPointF& pos, Qt::KeyboardModifiers keys);

  GraphState& state_;
  EdgeLayer layer_;
  QGraphicsScene scene_;
  GraphItem *groups_, *edges_, *nodes_;
  bool fitted_ = true, moved_ = false;
  Drag drag_ = Drag::kNone;
  int dragged_ = -1;
  QPointF pressed_, last_, grip_;
  QRubberBand* band_ = nullptr;
  QLineEdit* line_ = nullptr;
};

}  // namespace microtome::desktop
