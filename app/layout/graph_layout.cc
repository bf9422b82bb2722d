#include "app/layout/graph_layout.h"

#ifdef MICROTOME_HAS_GRAPHVIZ
#include <graphviz/cgraph.h>
#include <graphviz/gvc.h>
#endif

#include <algorithm>
#include <cmath>
#include <map>
#include <mutex>
#include <set>
#include <string>

namespace microtome::layout {
namespace {

constexpr double kLeastGap = 16;       // between two nodes side by side
constexpr size_t kFoldAt = 48, kFoldInto = 32;
constexpr size_t kDotNodes = 400, kDotEdges = 1500, kDotSpan = 9000;

struct Rank {
  std::vector<int> nodes;              // in their order from left to right
  bool columns = false;                // stand on the grid of columns
  double height = 0;
};

// Ranks with nodes only, lowest first.
std::vector<Rank> ranks_of(const std::vector<LayoutNode>& nodes, std::vector<int>* rows, std::vector<int>* names) {
  std::map<int, int> index;
  for (const LayoutNode& n : nodes) index.emplace(n.rank, 0);
  int next = 0;
  for (auto& [rank, row] : index) {
    row = next++;
    names->push_back(rank);
  }
  std::vector<Rank> ranks(index.size());
  rows->resize(nodes.size());
  for (size_t i = 0; i < nodes.size(); ++i) {
    const int row = (*rows)[i] = index[nodes[i].rank];
    ranks[static_cast<size_t>(row)].nodes.push_back(static_cast<int>(i));
  }
  return ranks;
}

int column_of(const std::vector<LayoutNode>& nodes, int node) { return nodes[static_cast<size_t>(node)].column; }

double pitch_of(size_t ranks) { return ranks <= 8 ? 96 : ranks <= 14 ? 80 : 64; }

#ifdef MICROTOME_HAS_GRAPHVIZ
using GraphAttributes = std::vector<std::pair<const char*, const char*>>;

void put(void* object, const char* name, const std::string& value) {
  agsafeset(object, const_cast<char*>(name), const_cast<char*>(value.c_str()), const_cast<char*>(""));
}

// graphviz tells stderr about what a person can't act on; the caller falls back on ranks.
int quiet(char*) { return 0; }

struct Context {
  GVC_t* gvc = gvContext();
  ~Context() {
    if (gvc) gvFreeContext(gvc);
  }
};
#endif

}  // namespace

Placement place_by_rank(const std::vector<LayoutNode>& nodes) {
  Placement out;
  std::vector<int> names;
  std::vector<Rank> ranks = ranks_of(nodes, &out.rows, &names);
  out.centres.resize(nodes.size());

  size_t widest = 1;
  int columns = 0;
  double half_width = 16;
  for (Rank& rank : ranks) {
    std::stable_sort(rank.nodes.begin(), rank.nodes.end(), [&](int a, int b) {
      // Without a wish: after those that have one.
      const unsigned x = static_cast<unsigned>(column_of(nodes, a)), y = static_cast<unsigned>(column_of(nodes, b));
      return x < y;
    });
    rank.columns = true;
    for (size_t k = 0; k < rank.nodes.size(); ++k) {
      const int c = column_of(nodes, rank.nodes[k]);
      if (c < 0 || (k > 0 && c == column_of(nodes, rank.nodes[k - 1]))) rank.columns = false;
      const Point half = nodes[static_cast<size_t>(rank.nodes[k])].half;
      rank.height = std::max(rank.height, 2 * half.y);
      if (c >= 0) half_width = std::max(half_width, half.x);
    }
    if (rank.columns) columns = std::max(columns, std::min(column_of(nodes, rank.nodes.back()), 4095) + 1);
    widest = std::max(widest, std::min(rank.nodes.size(), kFoldInto));
  }
  // Head 4,000 of a rank of two is a name, not a place.
  const bool grid = columns > 0 && static_cast<size_t>(columns) <= 4 * widest + 16;

  // As wide as the window is beside its height, within reason: edges need room more than nodes do.
  const double pitch = pitch_of(ranks.size());
  const double height = pitch * static_cast<double>(ranks.size());
  const double across = static_cast<double>(std::max<size_t>(widest, grid ? static_cast<size_t>(columns) : 1));
  const double least = 2 * half_width + kLeastGap;
  const double step = std::clamp(1.5 * height / across, least, std::max(least, 160.0));

  double y = 0;
  for (size_t r = 0; r < ranks.size(); ++r) {
    Rank& rank = ranks[r];
    const bool on_grid = grid && rank.columns;
    const bool folded = !on_grid && rank.nodes.size() > kFoldAt;
    const size_t per_row = folded ? kFoldInto : std::max<size_t>(rank.nodes.size(), 1);
    const size_t rows = (rank.nodes.size() + per_row - 1) / per_row;
    const double row_pitch = rank.height + kLeastGap;
    const double tall = static_cast<double>(rows - 1) * row_pitch;
    for (size_t line = 0; line < rows; ++line) {
      const size_t begin = line * per_row, end = std::min(begin + per_row, rank.nodes.size());
      double x = 0;
      std::vector<double> xs;
      for (size_t k = begin; k < end; ++k) {
        const LayoutNode& n = nodes[static_cast<size_t>(rank.nodes[k])];
        if (on_grid) {
          xs.push_back((n.column - (columns - 1) / 2.0) * step);
          continue;
        }
        // Wide boxes keep their distance.
        const double before = k > begin ? nodes[static_cast<size_t>(rank.nodes[k - 1])].half.x : 0;
        if (k > begin) x += std::max(std::min(step, 96.0), before + n.half.x + kLeastGap);
        xs.push_back(x);
      }
      const double middle = on_grid || xs.empty() ? 0 : (xs.front() + xs.back()) / 2;
      for (size_t k = begin; k < end; ++k)
        out.centres[static_cast<size_t>(rank.nodes[k])] =
            {xs[k - begin] - middle, y - static_cast<double>(line) * row_pitch};
    }
    out.ranks.push_back({names[r], y - tall / 2, y - tall - pitch / 2, y + pitch / 2});
    y -= pitch + tall;
  }
  return out;
}

void fit_columns(std::vector<double>& x, const std::vector<LayoutNode>& nodes, const std::vector<int>& rows, double width) {
  if (x.empty()) return;
  const auto [least, most] = std::minmax_element(x.begin(), x.end());
  if (*most - *least <= width) return;
  const double middle = (*least + *most) / 2, scale = width / (*most - *least);
  std::map<int, std::vector<size_t>> by_row;
  for (size_t i = 0; i < x.size(); ++i) {
    x[i] = (x[i] - middle) * scale;
    by_row[rows[i]].push_back(i);
  }
  for (auto& [row, in] : by_row) {
    std::stable_sort(in.begin(), in.end(), [&](size_t a, size_t b) { return x[a] < x[b]; });
    // The nearest places (in squares) that keep the distances: what is too close becomes a block about its mean.
    struct Block {
      double sum;
      size_t count;
      double mean() const { return sum / static_cast<double>(count); }
    };
    std::vector<double> offset(in.size(), 0);
    std::vector<Block> blocks;
    for (size_t k = 0; k < in.size(); ++k) {
      if (k > 0) offset[k] = offset[k - 1] + nodes[in[k - 1]].half.x + nodes[in[k]].half.x + kLeastGap;
      blocks.push_back({x[in[k]] - offset[k], 1});
      while (blocks.size() > 1 && blocks[blocks.size() - 2].mean() > blocks.back().mean()) {
        blocks[blocks.size() - 2].sum += blocks.back().sum;
        blocks[blocks.size() - 2].count += blocks.back().count;
        blocks.pop_back();
      }
    }
    size_t k = 0;
    for (const Block& b : blocks)
      for (size_t n = 0; n < b.count; ++n, ++k) x[in[k]] = b.mean() + offset[k];
  }
}

bool suits_dot(const std::vector<LayoutNode>& nodes, const std::vector<std::pair<int, int>>& edges) {
  if (!has_dot() || nodes.size() < 2 || nodes.size() > kDotNodes || edges.empty() || edges.size() > 4 * kDotEdges) return false;
  std::vector<int> rows, names;
  ranks_of(nodes, &rows, &names);
  std::set<std::pair<int, int>> pairs(edges.begin(), edges.end());
  // dot puts a virtual node on each rank that an edge crosses: their number decides how long it takes.
  size_t span = 0;
  for (const auto& [a, b] : pairs)
    span += static_cast<size_t>(std::abs(rows[static_cast<size_t>(a)] - rows[static_cast<size_t>(b)]));
  return pairs.size() <= kDotEdges && span <= kDotSpan;
}

#ifdef MICROTOME_HAS_GRAPHVIZ
bool has_dot() { return true; }

std::vector<double> dot_columns(const std::vector<LayoutNode>& nodes, const std::vector<std::pair<int, int>>& edges,
                                const std::atomic<bool>& cancelled) {
  static std::mutex one;
  const std::lock_guard<std::mutex> lock(one);
  if (cancelled.load() || nodes.empty()) return {};
  std::vector<int> rows, names;
  const std::vector<Rank> ranks = ranks_of(nodes, &rows, &names);

  Context context;
  if (!context.gvc) return {};
  agseterrf(quiet);
  Agraph_t* graph = agopen(const_cast<char*>("circuit"), Agstrictdirected, nullptr);
  if (!graph) return {};
  // splines=none: routing edges is what takes longest, and they are drawn as curves of our own.
  for (const auto& [name, value] : GraphAttributes{{"rankdir", "BT"}, {"splines", "none"}, {"nodesep", "0.35"},
                                                   {"ranksep", "0.5"}, {"nslimit", "4"}, {"nslimit1", "4"}, {"mclimit", "1"}})
    agattr(graph, AGRAPH, const_cast<char*>(name), const_cast<char*>(value));
  for (const auto& [name, value] : GraphAttributes{{"label", ""}, {"shape", "box"}, {"fixedsize", "true"},
                                                   {"width", "0.5"}, {"height", "0.5"}})
    agattr(graph, AGNODE, const_cast<char*>(name), const_cast<char*>(value));
  for (const auto& [name, value] : GraphAttributes{{"weight", "1"}})
    agattr(graph, AGEDGE, const_cast<char*>(name), const_cast<char*>(value));

  std::vector<Agnode_t*> made(nodes.size());
  Agnode_t* below = nullptr;
  for (size_t r = 0; r < ranks.size(); ++r) {
    Agraph_t* same = agsubg(graph, const_cast<char*>(("rank" + std::to_string(r)).c_str()), 1);
    put(same, "rank", "same");
    // A chain of points holds the ranks in their order, whatever the edges say.
    Agnode_t* rung = agnode(same, const_cast<char*>(("r" + std::to_string(r)).c_str()), 1);
    put(rung, "width", "0.01");
    put(rung, "height", "0.01");
    if (below) put(agedge(graph, below, rung, nullptr, 1), "weight", "0");
    below = rung;
    for (int i : ranks[r].nodes) {
      Agnode_t* n = agnode(same, const_cast<char*>(("n" + std::to_string(i)).c_str()), 1);
      made[static_cast<size_t>(i)] = n;
    }
  }
  // Points to inches, in whole thousandths: no decimal separator of any locale can get in between.
  for (size_t i = 0; i < nodes.size(); ++i) {
    const long thousandths = std::lround(std::clamp(nodes[i].half.x * 2, 1.0, 2000.0) / 72 * 1000);
    const std::string digits = std::to_string(1000 + thousandths % 1000).substr(1);
    put(made[i], "width", std::to_string(thousandths / 1000) + "." + digits);
  }
  std::map<std::pair<int, int>, int> pairs;
  for (const auto& [a, b] : edges) {
    const int ra = rows[static_cast<size_t>(a)], rb = rows[static_cast<size_t>(b)];
    // Inside a rank an edge says nothing about ranks; downwards it is laid upwards.
    if (ra != rb) ++pairs[ra < rb ? std::pair(a, b) : std::pair(b, a)];
  }
  for (const auto& [pair, count] : pairs) {
    Agedge_t* e = agedge(graph, made[static_cast<size_t>(pair.first)], made[static_cast<size_t>(pair.second)], nullptr, 1);
    if (e && count > 1) put(e, "weight", std::to_string(std::min(count, 8)));
  }

  std::vector<double> x;
  if (gvLayout(context.gvc, graph, "dot") == 0) {
    x.reserve(nodes.size());
    for (Agnode_t* n : made) x.push_back(ND_coord(n).x);
    if (std::all_of(x.begin(), x.end(), [](double v) { return std::isfinite(v); })) {
      const auto [least, most] = std::minmax_element(x.begin(), x.end());
      // dot packs closely; where the graph is taller than wide it may spread.
      const double middle = (*least + *most) / 2, height = pitch_of(ranks.size()) * static_cast<double>(ranks.size());
      const double spread = *most > *least ? std::clamp(1.2 * height / (*most - *least), 1.0, 2.5) : 1;
      for (double& v : x) v = (v - middle) * spread;
    } else {
      x.clear();
    }
    gvFreeLayout(context.gvc, graph);
  }
  agclose(graph);
  return x;
}

#else
bool has_dot() { return false; }

std::vector<double> dot_columns(const std::vector<LayoutNode>&, const std::vector<std::pair<int, int>>&, const std::atomic<bool>&) {
  return {};
}
#endif

}  // namespace microtome::layout
