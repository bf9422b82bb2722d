#include "app/desktop/views/graph_edge_layer.h"

#include <QCoreApplication>
#include <QPainter>
#include <QPainterPath>
#include <QThreadPool>
#include <algorithm>
#include <cmath>

namespace microtome::desktop {
namespace {

constexpr size_t kDirect = 150;        // so few edges are drawn crisp in every frame
constexpr size_t kPreviewEdges = 6000; // drawn at once when there is no picture; the worker's has them all
constexpr int kRestMs = 120;           // after the view moved
constexpr int kChangeMs = 40;          // after a threshold moved: there is no picture, so the worker is wanted soon
constexpr double kMostPixels = 1.6e7;
constexpr double kOverviewSide = 1600;

// One thread for the edges of all graphs. Owned by the application, which waits for it when it ends.
QThreadPool* drawingPool() {
  const QString name = QStringLiteral("graph edges");
  if (auto* pool = qApp->findChild<QThreadPool*>(name, Qt::FindDirectChildrenOnly)) return pool;
  auto* pool = new QThreadPool(qApp);
  pool->setObjectName(name);
  pool->setMaxThreadCount(1);
  return pool;
}

// The same picture but for where it is: moved by whole pixels.
bool isShift(const QTransform& t) {
  return std::abs(t.m11() - 1) < 1e-6 && std::abs(t.m22() - 1) < 1e-6;
}

}  // namespace

struct EdgeLayer::Job {
  std::shared_ptr<const EdgeScene> scene;
  QTransform toImage;
  QSize size;
  double pixelRatio = 1;
  bool whole = false, coarse = false;
  std::shared_ptr<std::atomic<bool>> cancelled;
  std::shared_ptr<Channel> channel;

  void run() const {
    if (cancelled->load()) return;
    QImage image(size, QImage::Format_ARGB32_Premultiplied);
    if (!image.isNull()) {
      image.setDevicePixelRatio(pixelRatio);
      image.fill(Qt::transparent);
      QPainter painter(&image);
      EdgeBrush brush;
      brush.clip = QRectF(QPointF(), QSizeF(size) / pixelRatio);
      brush.cancelled = cancelled.get();
      if (!paintEdges(painter, *scene, 0, scene->shown, toImage, brush)) return;
    }
    const std::lock_guard<std::mutex> lock(channel->lock);
    if (!channel->layer || cancelled->load()) return;
    Picture picture{scene, image, toImage, whole, coarse};
    EdgeLayer* layer = channel->layer;
    QMetaObject::invokeMethod(
        layer,
        [layer, picture = std::move(picture), mine = cancelled] {
          if (layer->running_ != mine) return;
          layer->running_.reset();
          layer->accept(picture);
        },
        Qt::QueuedConnection);
  }
};

EdgeLayer::EdgeLayer(QObject* parent) : QObject(parent) {
  channel_->layer = this;
  rest_.setSingleShot(true);
  connect(&rest_, &QTimer::timeout, this, &EdgeLayer::start);
}

EdgeLayer::~EdgeLayer() {
  if (running_) running_->store(true);
  const std::lock_guard<std::mutex> lock(channel_->lock);
  channel_->layer = nullptr;
}

bool EdgeLayer::isDirect() const { return scene_->shown <= kDirect; }

bool EdgeLayer::isSettled() const { return !running_ && !rest_.isActive(); }

void EdgeLayer::setScene(EdgeScene scene) {
  scene_ = std::make_shared<const EdgeScene>(std::move(scene));
  if (running_) running_->store(true);
  running_.reset();
  if (isDirect()) {
    detail_ = overview_ = {};
    rest_.stop();
  } else {
    rest_.start(kChangeMs);
  }
}

void EdgeLayer::setView(const QTransform& toView, const QSizeF& viewport, double pixelRatio) {
  if (toView == toView_ && viewport == viewport_ && pixelRatio == pixelRatio_) return;
  toView_ = toView;
  viewport_ = viewport;
  pixelRatio_ = pixelRatio;
  if (isDirect()) return;
  // Each step starts the rest anew: while a person moves, every bit of the processor is theirs.
  if (detail_.scene != scene_) rest_.start(kChangeMs);
  else if (!isCovered()) rest_.start(kRestMs);
}

bool EdgeLayer::isCovered() const {
  if (detail_.image.isNull() || !detail_.toImage.isInvertible()) return false;
  const QTransform move = detail_.toImage.inverted() * toView_;
  if (!isShift(move) || detail_.image.devicePixelRatio() != pixelRatio_) return false;
  const QRectF needed = QRectF(QPointF(), viewport_).intersected(toView_.mapRect(scene_->bounds));
  const QRectF there = move.mapRect(detail_.rect());
  return needed.isEmpty() || there.adjusted(-1, -1, 1, 1).contains(needed);
}

void EdgeLayer::start() {
  rest_.stop();
  if (isDirect() || viewport_.isEmpty() || scene_->bounds.isEmpty()) return;
  if (running_) running_->store(true);
  running_.reset();
  const QRectF all = toView_.mapRect(scene_->bounds);
  if (detail_.scene == scene_ && isCovered()) {
    // Seen from near: a picture of the whole for when the view moves away.
    if (overview_.scene == scene_) return;
    const double scale = std::min(kOverviewSide / std::max(scene_->bounds.width(), scene_->bounds.height()), toView_.m11());
    const QTransform far = QTransform::fromScale(scale, scale);
    draw(far, far.mapRect(scene_->bounds), 1, true, true);
    return;
  }
  const double mx = viewport_.width() * 0.25, my = viewport_.height() * 0.25;
  QRectF rect = QRectF(QPointF(), viewport_).adjusted(-mx, -my, mx, my);
  if (rect.width() * rect.height() * pixelRatio_ * pixelRatio_ > kMostPixels) rect = QRectF(QPointF(), viewport_);
  const bool whole = rect.contains(all);
  draw(toView_, rect.intersected(all), pixelRatio_, whole, false);
}

void EdgeLayer::draw(const QTransform& toView, const QRectF& rect, double pixelRatio, bool whole, bool coarse) {
  // On whole pixels, so that a picture of the same zoom is copied as it is.
  const QRect pixels = rect.toAlignedRect();
  if (pixels.isEmpty()) return;
  auto job = std::make_shared<Job>();
  job->scene = scene_;
  job->toImage = toView * QTransform::fromTranslate(-pixels.x(), -pixels.y());
  job->size = (QSizeF(pixels.size()) * pixelRatio).toSize();
  if (static_cast<double>(job->size.width()) * job->size.height() > 4 * kMostPixels) return;
  job->pixelRatio = pixelRatio;
  job->whole = whole;
  job->coarse = coarse;
  job->cancelled = running_ = std::make_shared<std::atomic<bool>>(false);
  job->channel = channel_;
  drawingPool()->start([job] { job->run(); });
}

void EdgeLayer::accept(Picture picture) {
  if (picture.scene != scene_ || picture.image.isNull()) return;
  if (picture.whole) overview_ = picture;
  if (!picture.coarse) {
    detail_ = std::move(picture);
    Q_EMIT changed();
  }
  // The view may have moved on while this was drawn; and the overview may still be wanted.
  if (overview_.scene != scene_ || !isCovered()) rest_.start(kRestMs);
}

void EdgeLayer::blit(QPainter& painter, const Picture& picture, const QTransform& toView) const {
  const QTransform move = picture.toImage.inverted() * toView;
  const double ratio = picture.image.devicePixelRatio();
  painter.save();
  if (isShift(move)) {
    painter.drawImage(QPointF(std::round(move.dx() * ratio) / ratio, std::round(move.dy() * ratio) / ratio), picture.image);
  } else {
    painter.setTransform(move, true);
    painter.drawImage(QPointF(), picture.image);
  }
  painter.restore();
}

void EdgeLayer::paint(QPainter& painter, const QTransform& toView, const QRectF& viewport, double presence) const {
  if (scene_->shown == 0) return;
  painter.save();
  const bool known = detail_.scene == scene_ && !detail_.image.isNull();
  if (isDirect() || !known) {
    EdgeBrush brush;
    brush.quality = isDirect() ? EdgeQuality::kCrisp : EdgeQuality::kPreview;
    brush.presence = presence;
    brush.clip = viewport;
    paintEdges(painter, *scene_, 0, std::min(scene_->shown, kPreviewEdges), toView, brush);
    painter.restore();
    return;
  }
  painter.setOpacity(presence);
  const QRectF there = (detail_.toImage.inverted() * toView).mapRect(detail_.rect());
  if (!there.contains(viewport.intersected(toView.mapRect(scene_->bounds))) && overview_.scene == scene_ && !detail_.whole) {
    // Round the sharp picture the coarse one shows through.
    painter.save();
    QPainterPath round;
    round.addRect(viewport);
    QPainterPath inside;
    inside.addRect(there);
    painter.setClipPath(round.subtracted(inside), Qt::IntersectClip);
    blit(painter, overview_, toView);
    painter.restore();
  }
  blit(painter, detail_, toView);
  painter.restore();
}

}  // namespace microtome::desktop
