// svg_heatmap.h — matrices as inline SVG: axes with names and tick labels, colour bar with numbers, values in the cells
// of small maps, hover text on every cell. Colours are classes of the page's style sheet (style.h), so that thousands
// of cells stay small and one rule changes them all. Pure functions; values may hold NaN (drawn hatched).
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace microtome::report {

enum class Ramp { kSequential, kDiverging };  // viridis from lo to hi; red – white at 0 – blue, symmetric

struct ColourScale {
  Ramp ramp = Ramp::kSequential;
  double lo = 0, hi = 1;
};
constexpr int kRampSteps = 64;  // classes s0…s64 and d0…d64; d32 is white
// Level 0…kRampSteps of a finite value, clamped to the scale.
int ramp_level(const ColourScale& scale, double value);
// "#rrggbb" of a level, and whether dark text reads better on it.
std::string ramp_colour(Ramp ramp, int level);
bool ramp_is_light(Ramp ramp, int level);
// From 0 (or the smallest value) to the largest; kDiverging: symmetric about 0. Never empty.
ColourScale scale_of(Ramp ramp, const std::vector<double>& values);

enum class MixerKind : uint8_t { kNone, kSoftmax, kRecurrent };

struct HeatmapAxis {
  std::string name;                 // "layer"
  std::vector<std::string> labels;  // one an index; any other length: indices are shown
  std::vector<MixerKind> kinds;     // marks beside the labels; empty: none
  int group = 0;                    // a line every `group` indices (heads of one layer); 0: none
  bool tokens = false;              // labels are tokens: fixed pitch, blanks made visible
};

struct Heatmap {
  HeatmapAxis rows, cols;
  std::vector<double> values;      // rows × cols, row-major
  int64_t n_rows = 0, n_cols = 0;  // values.size() == n_rows * n_cols
  ColourScale scale;
  std::string label, unit;  // what the numbers are; read out and in hover text
  std::string missing;      // why a cell may be empty: hover text of NaN cells
  bool causal = false;      // leave cells right of the diagonal blank
  bool bar = true;          // colour bar
  bool hover = true;
  double cell = 0;  // largest cell width; 0: chosen by size
};

// At most `limit` rows and columns: blocks are pooled, the value of largest magnitude on a diverging scale and the mean
// on a sequential one. Returns whether anything was pooled.
bool pool_heatmap(Heatmap& map, int64_t limit = 64);
std::string heatmap_svg(const Heatmap& map);

// Small multiples without cell labels: maps[r * n_cols + c], all of one scale; row and column names given once.
struct HeatmapGrid {
  std::vector<Heatmap> maps;
  int64_t n_cols = 1;
  HeatmapAxis rows, cols;  // the grid's own axes (layer, head)
  std::string label;
  double side = 80;  // longest side of one map, pixels
};
std::string heatmap_grid_svg(const HeatmapGrid& grid);

// Shared definitions (gradients, hatching), once a page, before the first map.
std::string svg_definitions();

}  // namespace microtome::report
