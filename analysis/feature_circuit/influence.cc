#include "analysis/feature_circuit/influence.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <numeric>

namespace microtome::feature_circuit {
namespace {

constexpr double kSmallest = 1e-10;          // of a row's sum, as circuit-tracer has it
constexpr size_t kMostEdges = size_t{1} << 25;   // that are held at once: 1 GiB

bool counts(const std::vector<char>& kept, int64_t node) { return kept.empty() || kept[static_cast<size_t>(node)]; }

double weight_of(const NodeIndex& nodes, const std::vector<double>& influence, const std::vector<double>& logit_p, int64_t node) {
  return nodes.is_logit(node) ? logit_p[static_cast<size_t>(node - nodes.logit(0))] : influence[static_cast<size_t>(node)];
}

// Calls f(source, target, weight, score) for every edge of the kept graph whose score is above 0.
template <class F>
void edge_scores(const RowStore& rows, const std::vector<double>& flow, const std::vector<double>& logit_p, const std::vector<char>& kept, F f) {
  const NodeIndex& nodes = rows.nodes();
  for (int64_t r = 0; r < rows.rows(); ++r) {
    const int64_t t = rows.target(r);
    if (!counts(kept, t)) continue;
    const double w = weight_of(nodes, flow, logit_p, t);
    if (!(w > 0)) continue;
    double sum = 0;
    rows.each(r, [&](int64_t s, float a) { if (counts(kept, s)) sum += std::fabs(a); });
    sum = std::max(sum, kSmallest);
    rows.each(r, [&](int64_t s, float a) {
      const double score = counts(kept, s) ? std::fabs(a) / sum * w : 0;
      if (score > 0) f(s, t, a, score);
    });
  }
}

// Positive doubles keep their order as integers, so their leading bits are the bins of a histogram.
constexpr int kBits = 18;
size_t bin_of(double v) { return static_cast<size_t>(std::bit_cast<uint64_t>(v) >> (63 - kBits)); }

// share_threshold over all edges without holding them: a pass that fills a histogram, and one that looks into a single bin.
double edge_threshold(const RowStore& rows, const std::vector<double>& flow, const std::vector<double>& logit_p, const std::vector<char>& kept, double share) {
  std::vector<double> sums(size_t{1} << kBits, 0);
  std::vector<size_t> numbers(sums.size(), 0);
  double total = 0;
  edge_scores(rows, flow, logit_p, kept, [&](int64_t, int64_t, float, double score) {
    sums[bin_of(score)] += score;
    ++numbers[bin_of(score)];
    total += score;
  });
  if (!(total > 0)) return 0;
  double above = 0;
  size_t bin = sums.size(), held = 0, lowest = 0;
  for (size_t b = sums.size(); b-- > 0;) {
    if (!numbers[b]) continue;
    lowest = b;
    if (bin == sums.size() && (above + sums[b] >= share * total || held + numbers[b] > kMostEdges)) bin = b;
    if (bin == sums.size()) {
      above += sums[b];
      held += numbers[b];
    }
  }
  if (bin == sums.size()) {                  // rounding kept the sum from reaching its own total: everything belongs
    bin = lowest;
    above = total - sums[lowest];
  }
  std::vector<double> inside;
  inside.reserve(numbers[bin]);
  edge_scores(rows, flow, logit_p, kept, [&](int64_t, int64_t, float, double score) { if (bin_of(score) == bin) inside.push_back(score); });
  std::sort(inside.begin(), inside.end(), std::greater<>());
  for (double s : inside) {
    above += s;
    if (above >= share * total) return s;
  }
  return inside.back();
}

// Features and errors must lead somewhere, features must come from somewhere; until that holds for all that are left.
void drop_loose_ends(const NodeIndex& nodes, std::vector<char>& kept, std::vector<KeptEdge>& edges) {
  for (bool changed = true; changed;) {
    std::vector<char> out(kept.size(), 0), in(kept.size(), 0);
    for (const KeptEdge& e : edges) {
      out[static_cast<size_t>(e.from)] = 1;
      in[static_cast<size_t>(e.to)] = 1;
    }
    changed = false;
    for (int64_t n = 0; n < nodes.token(0); ++n) {
      const size_t i = static_cast<size_t>(n);
      if (!kept[i] || (out[i] && (in[i] || nodes.is_error(n)))) continue;
      kept[i] = 0;
      changed = true;
    }
    if (changed) std::erase_if(edges, [&](const KeptEdge& e) { return !kept[static_cast<size_t>(e.from)] || !kept[static_cast<size_t>(e.to)]; });
  }
}

}  // namespace

Influence influence(const RowStore& rows, const std::vector<double>& logit_p, const std::vector<char>& kept) {
  const NodeIndex& nodes = rows.nodes();
  Influence out{std::vector<double>(static_cast<size_t>(nodes.size()), 0), std::vector<double>(static_cast<size_t>(nodes.size()), 1)};
  for (int64_t r : rows.downward()) {
    const int64_t t = rows.target(r);
    if (!counts(kept, t)) continue;
    const double w = weight_of(nodes, out.nodes, logit_p, t);
    double sum = 0, errors = 0;
    rows.each(r, [&](int64_t s, float a) {
      if (!counts(kept, s)) return;
      sum += std::fabs(a);
      if (nodes.is_error(s)) errors += std::fabs(a);
    });
    sum = std::max(sum, kSmallest);
    out.non_error[static_cast<size_t>(t)] = 1 - errors / sum;
    if (w > 0) rows.each(r, [&](int64_t s, float a) { if (counts(kept, s)) out.nodes[static_cast<size_t>(s)] += w * std::fabs(a) / sum; });
  }
  return out;
}

GraphScores graph_scores(const NodeIndex& nodes, const Influence& all, const std::vector<double>& logit_p) {
  double tokens = 0, errors = 0, total = 0, whole = 0, part = 0;
  for (int64_t n = 0; n < nodes.size(); ++n) {
    const double v = all.nodes[static_cast<size_t>(n)];
    const double out = nodes.is_logit(n) ? v + logit_p[static_cast<size_t>(n - nodes.logit(0))] : v;
    if (nodes.is_token(n)) tokens += v;
    if (nodes.is_error(n)) errors += v;
    total += v;
    whole += out;
    part += out * all.non_error[static_cast<size_t>(n)];
  }
  return {tokens / (tokens + errors), part / whole, total > 0 ? errors / total : 0};
}

double share_threshold(std::vector<double> scores, double share) {
  std::sort(scores.begin(), scores.end(), std::greater<>());
  const double total = std::accumulate(scores.begin(), scores.end(), 0.0);
  double sum = 0, last = scores.empty() ? 0 : scores.front();
  for (double s : scores) {
    if (!(s > 0)) break;
    sum += s;
    last = s;
    if (sum / total >= share) break;
  }
  return last;
}

Pruned prune(const RowStore& rows, const Influence& all, const std::vector<double>& logit_p, const std::vector<char>& selected,
             const PruneOptions& o) {
  const NodeIndex& nodes = rows.nodes();
  Pruned out;
  const double cut = share_threshold(all.nodes, o.node_share);
  out.nodes.assign(static_cast<size_t>(nodes.size()), 0);
  for (int64_t n = 0; n < nodes.size(); ++n)
    out.nodes[static_cast<size_t>(n)] = n >= nodes.token(0) || (counts(selected, n) && all.nodes[static_cast<size_t>(n)] >= cut);

  std::vector<int64_t> order(static_cast<size_t>(nodes.size()));
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) { return all.nodes[static_cast<size_t>(a)] > all.nodes[static_cast<size_t>(b)]; });
  const double total = std::accumulate(all.nodes.begin(), all.nodes.end(), 0.0);
  out.cumulative.assign(order.size(), 0);
  double sum = 0;
  int64_t inner = 0;
  for (int64_t n : order) {
    sum += all.nodes[static_cast<size_t>(n)];
    out.cumulative[static_cast<size_t>(n)] = total > 0 ? sum / total : 0;
    if (n < nodes.token(0) && out.nodes[static_cast<size_t>(n)] && ++inner > o.most_nodes && o.most_nodes > 0) {
      out.nodes[static_cast<size_t>(n)] = 0;
      out.nodes_limited = true;
    }
  }

  const Influence flow = influence(rows, logit_p, out.nodes);
  const double edge_cut = edge_threshold(rows, flow.nodes, logit_p, out.nodes, o.edge_share);
  edge_scores(rows, flow.nodes, logit_p, out.nodes, [&](int64_t s, int64_t t, float a, double score) {
    if (score >= edge_cut) out.edges.push_back({s, t, a, score});
  });
  std::sort(out.edges.begin(), out.edges.end(), [](const KeptEdge& a, const KeptEdge& b) {
    return a.score != b.score ? a.score > b.score : std::pair(a.to, a.from) < std::pair(b.to, b.from);
  });
  if (o.most_edges > 0 && static_cast<int64_t>(out.edges.size()) > o.most_edges) {
    out.edges.resize(static_cast<size_t>(o.most_edges));
    out.edges_limited = true;
  }
  drop_loose_ends(nodes, out.nodes, out.edges);
  return out;
}

}  // namespace microtome::feature_circuit
