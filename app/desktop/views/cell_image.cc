#include "app/desktop/views/cell_image.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <limits>

#include "app/desktop/theme/theme.h"

namespace microtome::desktop {
namespace {

constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();
// A level's sides end here: no window has fewer pixels to give.
constexpr int64_t kSmallestSide = 128;
// Cells read in one frame, at most.
constexpr double kFrameCells = 4e6;

// Takes values one by one and gives the one that stands for them all. NaN is left out.
template <Look look>
struct Pool {
  float best = kNaN;
  int n = 0;
  void add(float v) {
    if (v != v) return;
    if constexpr (look == Look::kSequential) {
      best = n == 0 ? v : best + v;
    } else if constexpr (look == Look::kDiverging) {
      if (n == 0 || std::abs(v) > std::abs(best)) best = v;
    } else {
      if (n == 0 || v > best) best = v;
    }
    ++n;
  }
  float value() const { return look == Look::kSequential && n > 1 ? best / static_cast<float>(n) : best; }
};

template <Look look>
bool halve(const float* in, int64_t rows, int64_t cols, bool causal, CellPyramid::Level& out,
           const std::atomic<bool>& stop) {
  out.rows = (rows + 1) / 2;
  out.cols = (cols + 1) / 2;
  out.values.assign(static_cast<size_t>(out.rows * out.cols), kNaN);
  for (int64_t r = 0; r < out.rows; ++r) {
    if (stop) return false;
    float* line = out.values.data() + r * out.cols;
    const int64_t bottom = std::min(2 * r + 2, rows);
    // Of the finest level alone: in those above it, what does not exist is NaN already.
    const int64_t blocks = causal ? std::min(out.cols, bottom / 2 + 1) : out.cols;
    for (int64_t c = 0; c < blocks; ++c) {
      Pool<look> pool;
      for (int64_t i = 2 * r; i < bottom; ++i) {
        const int64_t right = std::min(2 * c + 2, causal ? std::min(cols, i + 1) : cols);
        for (int64_t k = 2 * c; k < right; ++k) pool.add(in[i * cols + k]);
      }
      line[c] = pool.value();
    }
  }
  return true;
}

template <Look look>
bool addLevels(const CellGrid& grid, CellPyramid& pyramid, const std::atomic<bool>& stop) {
  const float* in = grid.values->data();
  int64_t rows = grid.rows, cols = grid.cols;
  bool causal = grid.causal;
  while (std::max(rows, cols) > kSmallestSide) {
    CellPyramid::Level level;
    if (!halve<look>(in, rows, cols, causal, level, stop)) return false;
    pyramid.levels.push_back(std::move(level));
    const CellPyramid::Level& last = pyramid.levels.back();
    in = last.values.data();
    rows = last.rows;
    cols = last.cols;
    causal = false;
  }
  return true;
}

// One level as a frame reads it.
struct Source {
  const float* values;
  int64_t rows, cols;
  int shift;  // a cell covers 2^shift × 2^shift of the map
  int64_t mapRows;
  bool causal;

  // Whether all that rows r0…r1 and column c cover lies right of the diagonal.
  bool blank(int64_t r1, int64_t c) const { return causal && (c << shift) >= std::min(r1 << shift, mapRows); }
  bool exists(int64_t r, int64_t c) const { return !causal || shift > 0 || c <= r; }
};

struct Span {
  int64_t first = 0, end = 0;
  bool operator==(const Span&) const = default;
};

// The cells that each of `pixels` shows.
std::vector<Span> spansOf(double from, double length, int pixels, int64_t cells, bool pooled) {
  std::vector<Span> spans(static_cast<size_t>(pixels));
  const double step = length / pixels;
  for (int i = 0; i < pixels; ++i) {
    Span s;
    if (step <= 1 || !pooled) {
      // The coarse picture has pixels of two by two: it is there for a moment, and a quarter of the reads.
      s.first = static_cast<int64_t>(std::floor(from + ((pooled ? i : i & ~1) + 0.5) * step));
      s.end = s.first + 1;
    } else {
      s.first = static_cast<int64_t>(std::floor(from + i * step + 1e-9));
      s.end = std::max(s.first + 1, static_cast<int64_t>(std::floor(from + (i + 1) * step + 1e-9)));
    }
    s.first = std::clamp<int64_t>(s.first, 0, cells - 1);
    s.end = std::clamp<int64_t>(s.end, s.first + 1, cells);
    spans[static_cast<size_t>(i)] = s;
  }
  return spans;
}

constexpr uint16_t kMissing = kColourLevels, kBlank = kColourLevels + 1;

// Level, kMissing or kBlank of each pixel of one line.
template <Look look>
void readLine(const Source& source, const Span& rows, const std::vector<Span>& cols, double lo, double hi,
              uint16_t* out) {
  const auto levelOf = [&](float v) -> uint16_t {
    return v != v ? kMissing : static_cast<uint16_t>(colourLevel(static_cast<double>(v), lo, hi));
  };
  for (size_t x = 0; x < cols.size(); ++x) {
    if (x > 0 && cols[x] == cols[x - 1]) {
      out[x] = out[x - 1];
      continue;
    }
    const Span& c = cols[x];
    if (source.blank(rows.end, c.first)) {
      out[x] = kBlank;
      continue;
    }
    if (rows.end - rows.first == 1 && c.end - c.first == 1) {
      out[x] = levelOf(source.values[rows.first * source.cols + c.first]);
      continue;
    }
    Pool<look> pool;
    for (int64_t r = rows.first; r < rows.end; ++r)
      for (int64_t k = c.first; k < c.end && source.exists(r, k); ++k) pool.add(source.values[r * source.cols + k]);
    out[x] = levelOf(pool.value());
  }
}

}  // namespace

bool CellGrid::valid() const {
  return values && rows > 0 && cols > 0 &&
         static_cast<uint64_t>(rows) <= values->size() / static_cast<uint64_t>(cols) &&
         static_cast<uint64_t>(rows) * static_cast<uint64_t>(cols) == values->size();
}

Extent extentOf(const CellGrid& grid, int64_t step) {
  Extent extent;
  for (int64_t r = 0; r < grid.rows; r += step) {
    const float* line = grid.values->data() + r * grid.cols;
    const int64_t n = grid.causal ? std::min(grid.cols, r + 1) : grid.cols;
    if (step == 1)
      extent.add(line, n);
    else
      for (int64_t c = 0; c < n; c += step) extent.add(line + c, 1);
  }
  return extent;
}

std::shared_ptr<const CellPyramid> buildPyramid(const CellGrid& grid, const std::atomic<bool>& stop) {
  auto pyramid = std::make_shared<CellPyramid>();
  pyramid->extent = extentOf(grid);
  bool whole = false;
  switch (grid.look) {
    case Look::kDiverging: whole = addLevels<Look::kDiverging>(grid, *pyramid, stop); break;
    case Look::kPattern: whole = addLevels<Look::kPattern>(grid, *pyramid, stop); break;
    default: whole = addLevels<Look::kSequential>(grid, *pyramid, stop); break;
  }
  if (!whole || stop) return nullptr;
  return pyramid;
}

int levelFor(const CellGrid& grid, const CellPaint& paint) {
  if (grid.count() < kPyramidFrom || paint.pixels.isEmpty()) return 0;
  // By the side on which cells are larger: the other one is pooled on the way, so that neither is blurred.
  double cell = std::max(paint.pixels.width() / paint.visible.width(), paint.pixels.height() / paint.visible.height());
  double cells = paint.visible.width() * paint.visible.height();
  int level = 0;
  while (level < 40 && (grid.rows >> level > kSmallestSide || grid.cols >> level > kSmallestSide) &&
         (cell < 1 || cells > kFrameCells)) {
    ++level;
    cell *= 2;
    cells /= 4;
  }
  return level;
}

QImage cellImage(const CellGrid& grid, const CellPyramid* pyramid, const CellPaint& paint) {
  if (!grid.valid() || paint.pixels.isEmpty() || !(paint.visible.width() > 0) || !(paint.visible.height() > 0))
    return {};
  QImage image(paint.pixels, QImage::Format_RGB32);
  if (image.isNull()) return {};
  const int wanted = levelFor(grid, paint);
  Source source{grid.values->data(), grid.rows, grid.cols, 0, grid.rows, grid.causal};
  if (wanted > 0 && pyramid && !pyramid->levels.empty()) {
    source.shift = std::min(wanted, static_cast<int>(pyramid->levels.size()));
    const CellPyramid::Level& level = pyramid->levels[static_cast<size_t>(source.shift) - 1];
    source.values = level.values.data();
    source.rows = level.rows;
    source.cols = level.cols;
  }
  const bool pooled = wanted == 0 || source.shift > 0;
  const double shrink = std::ldexp(1.0, -source.shift);
  const int width = paint.pixels.width(), height = paint.pixels.height();
  const std::vector<Span> cols =
      spansOf(paint.visible.left() * shrink, paint.visible.width() * shrink, width, source.cols, pooled);
  const std::vector<Span> rows =
      spansOf(paint.visible.top() * shrink, paint.visible.height() * shrink, height, source.rows, pooled);

  const Theme& theme = paint.dark ? Theme::darkTheme() : Theme::light();
  const std::vector<QRgb>& table = colourTable(grid.look, paint.dark);
  std::array<QRgb, kColourLevels + 2> colours;
  std::copy(table.begin(), table.end(), colours.begin());
  colours[kMissing] = theme.missing.rgb();
  colours[kBlank] = theme.surface.rgb();
  // The hatching moves with the cells: it would seem to swim when panned.
  const int period = std::max(4, static_cast<int>(std::lround(6 * paint.ratio)));
  const int thick = std::max(1, static_cast<int>(std::lround(1.5 * paint.ratio)));
  const int shift = static_cast<int>(std::fmod(
      paint.visible.left() * width / paint.visible.width() + paint.visible.top() * height / paint.visible.height(),
      period));

  std::vector<uint16_t> line(static_cast<size_t>(width));
  bool hatched = false;
  for (int y = 0; y < height; ++y) {
    auto* out = reinterpret_cast<QRgb*>(image.scanLine(y));
    if (y > 0 && rows[y] == rows[y - 1]) {
      if (!hatched) {
        std::memcpy(out, image.constScanLine(y - 1), static_cast<size_t>(width) * sizeof(QRgb));
        continue;
      }
    } else {
      switch (grid.look) {
        case Look::kDiverging:
          readLine<Look::kDiverging>(source, rows[y], cols, paint.lo, paint.hi, line.data());
          break;
        case Look::kPattern: readLine<Look::kPattern>(source, rows[y], cols, paint.lo, paint.hi, line.data()); break;
        default: readLine<Look::kSequential>(source, rows[y], cols, paint.lo, paint.hi, line.data()); break;
      }
      hatched = std::find(line.begin(), line.end(), kMissing) != line.end();
    }
    for (int x = 0; x < width; ++x) out[x] = colours[line[x]];
    if (!hatched) continue;
    for (int x = 0; x < width; ++x)
      if (line[x] == kMissing && (x + y + shift) % period >= thick) out[x] = colours[kBlank];
  }
  return image;
}

}  // namespace microtome::desktop
