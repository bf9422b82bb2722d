#include "analysis/attribution_graph/groups.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <map>
#include <numeric>

#include "core/base/json.h"
#include "core/io/attribution_file.h"

namespace microtome::analyses {
namespace {

using Kind = AttributionGraph::Kind;
using Supernode = AttributionGraph::Supernode;

constexpr size_t kMostGroupBytes = size_t{16} << 20;

std::vector<size_t> features_by_influence(const AttributionGraph& g) {
  std::vector<size_t> out;
  for (size_t i = 0; i < g.nodes.size(); ++i)
    if (g.nodes[i].kind == Kind::kFeature) out.push_back(i);
  std::stable_sort(out.begin(), out.end(), [&](size_t a, size_t b) { return g.nodes[a].influence > g.nodes[b].influence; });
  return out;
}

}  // namespace

std::vector<Supernode> groups_by_direction(const AttributionGraph& g, const std::vector<at::Tensor>& writes, const std::vector<std::string>& top_tokens,
                                           double similarity) {
  std::vector<at::Tensor> heads;               // unit directions of the groups' first members
  std::vector<std::vector<int64_t>> members;
  at::Tensor stacked;
  for (size_t i : features_by_influence(g)) {
    at::Tensor d = writes[i] / writes[i].norm().clamp_min(1e-30);
    int64_t best = -1;
    if (!heads.empty()) {
      if (!stacked.defined() || stacked.size(0) != static_cast<int64_t>(heads.size())) stacked = at::stack(heads);
      auto [value, where] = at::matmul(stacked, d).max(0);
      if (value.item<double>() >= similarity) best = where.item<int64_t>();
    }
    if (best < 0) {
      heads.push_back(d);
      members.push_back({static_cast<int64_t>(i)});
    } else {
      members[static_cast<size_t>(best)].push_back(static_cast<int64_t>(i));
    }
  }
  std::vector<Supernode> out;
  for (auto& m : members) {
    if (m.size() < 2) continue;
    std::map<std::string, int> votes;
    for (int64_t n : m) ++votes[top_tokens[static_cast<size_t>(n)]];
    const auto most = std::max_element(votes.begin(), votes.end(), [](const auto& a, const auto& b) { return a.second < b.second; });
    out.push_back({"→ " + most->first, std::move(m)});
  }
  return out;
}

std::vector<Supernode> groups_by_token(const AttributionGraph& g, const std::vector<std::string>& top_tokens) {
  std::vector<Supernode> out;
  std::map<std::string, size_t> place;
  for (size_t i : features_by_influence(g)) {
    auto [it, fresh] = place.emplace(top_tokens[i], out.size());
    if (fresh) out.push_back({"→ " + top_tokens[i], {}});
    out[it->second].nodes.push_back(static_cast<int64_t>(i));
  }
  std::erase_if(out, [](const Supernode& s) { return s.nodes.size() < 2; });
  return out;
}

std::vector<Supernode> groups_of_file(const std::string& path, const AttributionGraph& g) {
  const Json file = read_json_file(path, {.max_bytes = kMostGroupBytes}).value();
  const auto bad = [&](const std::string& what) {
    return Error(StatusCode::kBadInput, what, path, "write [[\"name\", \"LAYER_FEATURE_POSITION\", …], …]");
  };
  if (!file.is_array()) throw bad("the groups are no list");
  std::map<std::string, int64_t> nodes;
  for (size_t i = 0; i < g.nodes.size(); ++i) nodes.emplace(graph_node_id(g, g.nodes[i]), static_cast<int64_t>(i));
  std::vector<Supernode> out;
  for (const Json& group : file) {
    if (!group.is_array() || group.size() < 2) throw bad("group " + std::to_string(out.size() + 1) + " is no list of a name and nodes");
    for (const Json& part : group)
      if (!part.is_string()) throw bad("group " + std::to_string(out.size() + 1) + " holds something that is no text");
    Supernode s{group[0].get<std::string>(), {}};
    for (size_t i = 1; i < group.size(); ++i)
      if (auto it = nodes.find(group[i].get<std::string>()); it != nodes.end()) s.nodes.push_back(it->second);
    out.push_back(std::move(s));
  }
  std::erase_if(out, [](const Supernode& s) { return s.nodes.empty(); });
  return out;
}

}  // namespace microtome::analyses
