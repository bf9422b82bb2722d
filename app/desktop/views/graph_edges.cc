#include "app/desktop/views/graph_edges.h"

#include <QLineF>
#include <QPainter>
#include <QPen>
#include <algorithm>
#include <array>
#include <cmath>
#include <numeric>

#include "app/desktop/views/graph_view.h"

namespace microtome::desktop {
namespace {

// Scores are drawn in so many steps of width and opacity: few pens, set rarely.
constexpr int kLevels = 12;
constexpr double kDimmed = 0.3;        // presence of edges that step back beside others

int levelOf(double strength) { return std::clamp(static_cast<int>(strength * kLevels), 0, kLevels - 1); }

// Across the bottom of a node, so that the q, k and v of a head are three edges.
float shiftOf(const QString& port) {
  if (port == QLatin1String("q")) return -1;
  if (port == QLatin1String("v")) return 1;
  return 0;
}

double magnitudeOf(double score) { return std::isnan(score) ? -1 : std::abs(score); }

double thresholdOf(const GraphEdge& edge) { return std::isnan(edge.level) ? magnitudeOf(edge.score) : edge.level; }

// 0 for 150 edges and fewer, 1 for 5,000 and more: how much a single edge must step back.
double crowding(size_t shown) {
  const double n = std::max<double>(static_cast<double>(shown), 1);
  return std::clamp(std::log(n / 150.0) / std::log(5000.0 / 150.0), 0.0, 1.0);
}

// Enough straight pieces that no corner shows.
int piecesOf(const Curve& c, double most) {
  const double length = std::hypot(c.b.x() - c.a.x(), c.b.y() - c.a.y());
  return std::clamp(static_cast<int>(4 + std::sqrt(length)), 3, static_cast<int>(most));
}

// Of `over` so much, the rest of `under`.
QColor mixed(const QColor& under, const QColor& over, double part) {
  auto one = [part](double a, double b) { return static_cast<float>(a + (b - a) * part); };
  return QColor::fromRgbF(one(under.redF(), over.redF()), one(under.greenF(), over.greenF()), one(under.blueF(), over.blueF()));
}

Curve mapped(const Curve& c, const QTransform& t) { return {t.map(c.a), t.map(c.c1), t.map(c.c2), t.map(c.b)}; }

class Pens {
 public:
  Pens(const EdgeScene& scene, size_t shown, double scale, const EdgeBrush& brush) {
    const bool hair = brush.quality == EdgeQuality::kPreview;
    for (int level = 0; level < 2 * kLevels; ++level) {
      const double strength = (level % kLevels + 0.5) / kLevels;
      for (int sign = -1; sign <= 1; ++sign) {
        QColor colour = sign > 0 ? scene.positive : sign < 0 ? scene.negative : scene.neutral;
        double width = edgeWidth(strength, shown, scale) + brush.widen;
        double presence = edgePresence(strength, shown) * brush.presence * (level < kLevels ? 1 : kDimmed);
        if (hair) {
          // A hair line stands for a thinner or wider one by its strength of colour.
          presence *= std::clamp(width, 0.5, 1.3);
          width = 0;
        }
        colour = mixed(scene.surface, colour, std::clamp(presence, 0.0, 1.0));
        const QPen pen(colour, width, Qt::SolidLine, Qt::FlatCap, Qt::RoundJoin);
        pens_[static_cast<size_t>(index(level, sign))] = pen;
      }
    }
  }
  static int index(int level, int sign) { return level * 3 + sign + 1; }
  const QPen& at(int i) const { return pens_[static_cast<size_t>(i)]; }

 private:
  std::array<QPen, kLevels * 6> pens_;                  // second half: dimmed
};

// Draws records one by one, given in the order in which they are to be painted.
class Stroke {
 public:
  Stroke(QPainter& painter, const EdgeScene& scene, const QTransform& toDevice, const EdgeBrush& brush, size_t shown)
      : painter_(painter), scene_(scene), toDevice_(toDevice), brush_(brush),
        pens_(scene, shown, std::abs(toDevice.m11()), brush), clip_(brush.clip.adjusted(-4, -4, 4, 4)) {
    painter_.setRenderHint(QPainter::Antialiasing, brush.quality == EdgeQuality::kCrisp);
    painter_.setBrush(Qt::NoBrush);
  }
  ~Stroke() { flush(); }

  void draw(size_t record) {
    const EdgeRecord& r = scene_.edges->records[record];
    if (scene_.without >= 0 && (r.from == scene_.without || r.to == scene_.without)) return;
    const Curve c = mapped(edgeCurve(scene_, record), toDevice_);
    if (!brush_.clip.isEmpty() && !c.box().intersects(clip_)) return;
    const int pen = Pens::index(levelOf(r.strength) + (r.dimmed ? kLevels : 0), r.sign);
    if (pen != pen_) {
      // A hair line's batch goes on while the level stays: colours of one level may swap places, nobody sees it.
      if (brush_.quality == EdgeQuality::kCrisp || pen / 3 != pen_ / 3) flush();
      pen_ = pen;
      if (brush_.quality == EdgeQuality::kCrisp) painter_.setPen(pens_.at(pen));
    }
    if (brush_.quality == EdgeQuality::kPreview) {
      std::vector<QLineF>& lines = lines_[static_cast<size_t>(r.sign + 1)];
      const int n = piecesOf(c, 6);
      QPointF last = c.a;
      for (int i = 1; i <= n; ++i) {
        const QPointF next = c.at(static_cast<double>(i) / n);
        lines.emplace_back(last, next);
        last = next;
      }
      return;
    }
    if (pens_.at(pen).widthF() <= 1) {
      // Qt has a fast way for antialiased lines of up to a pixel.
      const int n = piecesOf(c, 32);
      points_.resize(static_cast<size_t>(n) + 1);
      for (int i = 0; i <= n; ++i) points_[static_cast<size_t>(i)] = c.at(static_cast<double>(i) / n);
      painter_.drawPolyline(points_.data(), n + 1);
      return;
    }
    QPainterPath path(c.a);
    path.cubicTo(c.c1, c.c2, c.b);
    painter_.drawPath(path);
  }

 private:
  void flush() {
    for (size_t s = 0; s < lines_.size(); ++s) {
      if (lines_[s].empty()) continue;
      painter_.setPen(pens_.at(Pens::index(pen_ / 3, static_cast<int>(s) - 1)));
      painter_.drawLines(lines_[s].data(), static_cast<int>(lines_[s].size()));
      lines_[s].clear();
    }
  }
  QPainter& painter_;
  const EdgeScene& scene_;
  const QTransform& toDevice_;
  const EdgeBrush& brush_;
  Pens pens_;
  QRectF clip_;
  int pen_ = -1;
  std::array<std::vector<QLineF>, 3> lines_;
  std::vector<QPointF> points_;
};

double squared(const QPointF& p) { return p.x() * p.x() + p.y() * p.y(); }

double distanceToPiece(const QPointF& p, const QPointF& a, const QPointF& b) {
  const QPointF d = b - a;
  const double length = squared(d);
  const double t = length > 0 ? std::clamp(QPointF::dotProduct(p - a, d) / length, 0.0, 1.0) : 0;
  return std::sqrt(squared(p - (a + t * d)));
}

}  // namespace

size_t SortedEdges::shownAt(double threshold) const {
  if (!(threshold > 0)) return records.size();
  return static_cast<size_t>(
      std::partition_point(levels.begin(), levels.end(), [&](double level) { return level >= threshold; }) - levels.begin());
}

SortedEdges sortEdges(const GraphData& data) {
  SortedEdges out;
  const int nodes = static_cast<int>(data.nodes.size());
  std::vector<int> order;
  order.reserve(data.edges.size());
  for (size_t i = 0; i < data.edges.size(); ++i) {
    const GraphEdge& e = data.edges[i];
    if (!(e.from >= 0 && e.to >= 0 && e.from < nodes && e.to < nodes)) continue;
    order.push_back(static_cast<int>(i));
    out.leveled = out.leveled || !std::isnan(e.level);
    if (const double size = magnitudeOf(e.score); std::isfinite(size)) out.largest = std::max(out.largest, size);
  }
  out.total = order.size();
  auto stronger = [&](int a, int b) {
    const double x = thresholdOf(data.edges[static_cast<size_t>(a)]), y = thresholdOf(data.edges[static_cast<size_t>(b)]);
    return x != y ? x > y : a < b;
  };
  if (order.size() > kMostEdges) {
    std::nth_element(order.begin(), order.begin() + kMostEdges, order.end(), stronger);
    order.resize(kMostEdges);
  }
  std::sort(order.begin(), order.end(), stronger);
  out.records.reserve(order.size());
  out.magnitudes.reserve(order.size());
  out.levels.reserve(order.size());
  for (int i : order) {
    const GraphEdge& e = data.edges[static_cast<size_t>(i)];
    const double size = magnitudeOf(e.score);
    EdgeRecord r;
    r.edge = i;
    r.from = e.from;
    r.to = e.to;
    if (std::isinf(size)) r.strength = 1;
    else if (size > 0 && out.largest > 0) r.strength = static_cast<float>(size / out.largest);
    r.sign = static_cast<qint8>(e.score > 0 ? 1 : e.score < 0 ? -1 : 0);
    r.shift = shiftOf(e.port);
    out.records.push_back(r);
    out.magnitudes.push_back(size);
    out.levels.push_back(thresholdOf(e));
  }
  return out;
}

QRectF Curve::box() const {
  const auto [x0, x1] = std::minmax({a.x(), c1.x(), c2.x(), b.x()});
  const auto [y0, y1] = std::minmax({a.y(), c1.y(), c2.y(), b.y()});
  // A straight line's box is made to have an inside, as QRectF::intersects asks for one.
  return QRectF(x0 - 0.5, y0 - 0.5, x1 - x0 + 1, y1 - y0 + 1);
}

QPointF Curve::at(double t) const {
  const double u = 1 - t;
  const double k0 = u * u * u, k1 = 3 * u * u * t, k2 = 3 * u * t * t, k3 = t * t * t;
  return {k0 * a.x() + k1 * c1.x() + k2 * c2.x() + k3 * b.x(), k0 * a.y() + k1 * c1.y() + k2 * c2.y() + k3 * b.y()};
}

double edgeWidth(double strength, size_t shown, double scale) {
  const double widest = 6 - 3 * crowding(shown), thinnest = 1.1 - 0.5 * crowding(shown);
  const double zoom = std::clamp(std::sqrt(scale), 0.6, 2.0);
  return (thinnest + (widest - thinnest) * std::pow(std::clamp(strength, 0.0, 1.0), 1.5)) * zoom;
}

double edgePresence(double strength, size_t shown) {
  const double weakest = 0.85 - 0.6 * crowding(shown);
  return weakest + (0.95 - weakest) * std::clamp(strength, 0.0, 1.0);
}

bool paintEdges(QPainter& painter, const EdgeScene& scene, size_t first, size_t last, const QTransform& toDevice,
                const EdgeBrush& brush) {
  if (!scene.edges || !scene.places) return true;
  Stroke stroke(painter, scene, toDevice, brush, scene.shown);
  last = std::min(last, scene.edges->records.size());
  for (size_t i = last; i > first; --i) {
    if (brush.cancelled && i % 16 == 0 && brush.cancelled->load(std::memory_order_relaxed)) return false;
    stroke.draw(i - 1);
  }
  return true;
}

void paintEdges(QPainter& painter, const EdgeScene& scene, const std::vector<int>& records, const QTransform& toDevice,
                const EdgeBrush& brush) {
  if (!scene.edges || !scene.places) return;
  Stroke stroke(painter, scene, toDevice, brush, scene.shown);
  for (int i : records) stroke.draw(static_cast<size_t>(i));
}

int nearestEdge(const EdgeScene& scene, const QPointF& point, double reach) {
  if (!scene.edges || !scene.places) return -1;
  int best = -1;
  double least = reach;
  const QRectF near(point.x() - reach, point.y() - reach, 2 * reach, 2 * reach);
  for (size_t i = 0; i < std::min(scene.shown, scene.edges->records.size()); ++i) {
    const Curve c = edgeCurve(scene, i);
    if (!c.box().intersects(near)) continue;
    const int n = piecesOf(c, 32);
    QPointF last = c.a;
    for (int k = 1; k <= n; ++k) {
      const QPointF next = c.at(static_cast<double>(k) / n);
      const double d = distanceToPiece(point, last, next);
      // Strictly nearer: of two that lie on each other the stronger is meant.
      if (d < least) {
        least = d;
        best = static_cast<int>(i);
      }
      last = next;
    }
  }
  return best;
}

}  // namespace microtome::desktop
