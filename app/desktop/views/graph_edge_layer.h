// graph_edge_layer.h — keeps a picture of the edges so that a frame costs a copy of pixels. A worker thread draws it crisp
// once the view has been at rest; until then the last picture is moved and stretched, or, when the edges themselves changed,
// thin lines are drawn at once. Lives in the GUI thread.
#pragma once

#include <QImage>
#include <QObject>
#include <QTimer>
#include <QTransform>
#include <atomic>
#include <memory>
#include <mutex>

#include "app/desktop/views/graph_edges.h"

class QPainter;

namespace microtome::desktop {

class EdgeLayer : public QObject {
  Q_OBJECT
 public:
  explicit EdgeLayer(QObject* parent = nullptr);
  ~EdgeLayer() override;               // does not wait for the worker

  // Other edges, places or colours: pictures of before are not used any more.
  void setScene(EdgeScene scene);
  const EdgeScene& scene() const { return *scene_; }
  // Where it is looked at from: scene to logical pixels of the viewport.
  void setView(const QTransform& toView, const QSizeF& viewport, double pixelRatio);
  // The painter's transform must be the identity: logical pixels of the viewport.
  void paint(QPainter& painter, const QTransform& toView, const QRectF& viewport, double presence) const;
  // Nothing is being drawn or waits to be.
  bool isSettled() const;

 Q_SIGNALS:
  void changed();                      // a new picture: paint again

 private:
  struct Picture {
    std::shared_ptr<const EdgeScene> scene;
    QImage image;
    QTransform toImage;                // scene to logical pixels of the image
    bool whole = false;                // shows all of the graph
    bool coarse = false;               // drawn for later, not for the view as it is
    QRectF rect() const { return QRectF(QPointF(), QSizeF(image.size()) / image.devicePixelRatio()); }
  };
  // What the worker and the layer share. The layer may be gone before the worker is done.
  struct Channel {
    std::mutex lock;
    EdgeLayer* layer = nullptr;
  };
  struct Job;
  bool isDirect() const;
  bool isCovered() const;
  void start();
  void draw(const QTransform& toView, const QRectF& rect, double pixelRatio, bool whole, bool coarse);
  void accept(Picture picture);
  void blit(QPainter& painter, const Picture& picture, const QTransform& toView) const;

  std::shared_ptr<const EdgeScene> scene_ = std::make_shared<EdgeScene>();
  std::shared_ptr<Channel> channel_ = std::make_shared<Channel>();
  std::shared_ptr<std::atomic<bool>> running_;         // set to cancel; null: no job
  Picture detail_, overview_;
  QTransform toView_;
  QSizeF viewport_;
  double pixelRatio_ = 1;
  QTimer rest_;
};

}  // namespace microtome::desktop
