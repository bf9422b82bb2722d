#include "analysis/circuit/graph.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <cmath>

#include "analysis/engine/layers.h"

namespace microtome::circuit {
namespace {

using engine::block_point;

// More heads than that are channels: a node each would say nothing.
constexpr int64_t kMostHeads = 256;

// What decides which way a layer's inputs go. The first layer may differ from the others of its kind (RWKV-7).
std::string settings_of(const LayerConfig& layer, bool first) {
  std::string out = layer.mixer + (first ? " first" : "");
  for (const auto& [name, value] : layer.mixer_params.values()) out += "\n" + name + "=" + param_text(value);
  return out;
}

void require_sum(const Model& model) {
  const ModelConfig& c = model.config();
  for (const LayerConfig& l : c.layers)
    if (l.wiring == Wiring::kPostNorm || l.normed_stream || l.keep1 != 1 || l.keep2 != 1)
      throw Error(StatusCode::kUnsupported, "a circuit's edges add up in the residual stream, which this model normalises or scales between layers",
                  c.name, "use activation patching or path patching, which need no sum");
}

}  // namespace

Graph::Graph(const Model& model) : model_(model) {
  require_sum(model);
  sources_.push_back({NodeKind::kInput, -1, -1, "input"});
  writers_.push_back({block_point(0, "hook_resid_pre"), 0, 0, 1, false});
  for (int64_t l = 0; l < engine::layer_count(model); ++l) add_layer(l);
  before_.push_back(source_count());
  add_readers({block_point(engine::layer_count(model) - 1, "hook_resid_post"), engine::layer_count(model), 0, 1, source_count(), false},
              NodeKind::kLogits, "", -1);
  for (size_t i = 0; i < sources_.size(); ++i) source_index_[sources_[i].name] = static_cast<int64_t>(i);
  for (size_t i = 0; i < inputs_.size(); ++i) {
    input_index_[inputs_[i].name] = static_cast<int64_t>(i);
    edges_ += inputs_[i].sources;
  }
}

void Graph::add_readers(Readers r, NodeKind kind, const std::string& role, int64_t first_source) {
  r.first = input_count();
  for (int64_t h = 0; h < r.count; ++h) {
    Input in{kind, kind == NodeKind::kLogits ? -1 : r.layer, r.by_head ? h : -1, role, "logits", r.sources, first_source < 0 ? -1 : first_source + h};
    const std::string layer = std::to_string(r.layer);
    if (kind == NodeKind::kHead) in.name = "a" + layer + ".h" + std::to_string(h) + "<" + role + ">";
    if (kind == NodeKind::kMixer) in.name = "a" + layer;
    if (kind == NodeKind::kMlp) in.name = "m" + layer;
    inputs_.push_back(std::move(in));
  }
  readers_.push_back(std::move(r));
}

void Graph::add_layer(int64_t l) {
  const MixerInfo& info = model_.mixer_info(l);
  const LayerConfig& config = model_.config().layers[static_cast<size_t>(l)];
  const std::string number = std::to_string(l);
  const int64_t begin = source_count();
  before_.push_back(begin);
  std::string why;
  if (heads_apart(l, why)) {
    for (const std::string& role : info.inputs)
      add_readers({block_point(l, "hook_" + role + "_input"), l, 0, info.heads, begin, true}, NodeKind::kHead, role, begin);
    writers_.push_back({block_point(l, "attn.hook_result"), l, begin, info.heads, true});
    for (int64_t h = 0; h < info.heads; ++h) sources_.push_back({NodeKind::kHead, l, h, "a" + number + ".h" + std::to_string(h)});
  } else {
    note_ += (note_.empty() ? "Layers that are one node each: " : ", ") + ("a" + number) + " (" + info.kind + ": " + why + ")";
    add_readers({block_point(l, "hook_mixer_in"), l, 0, 1, begin, false}, NodeKind::kMixer, "", begin);
    writers_.push_back({block_point(l, "hook_attn_out"), l, begin, 1, false});
    sources_.push_back({NodeKind::kMixer, l, -1, "a" + number});
  }
  if (config.channel.d_mlp == 0) return;
  const int64_t mlp = source_count(), sees = config.wiring == Wiring::kParallel ? begin : mlp;
  add_readers({block_point(l, "hook_mlp_in"), l, 0, 1, sees, false}, NodeKind::kMlp, "", mlp);
  writers_.push_back({block_point(l, "hook_mlp_out"), l, mlp, 1, false});
  sources_.push_back({NodeKind::kMlp, l, -1, "m" + number});
}

// Heads are nodes of their own when all they read comes through their inputs. That is tried, not looked up: with every
// input held fixed, nothing of what the mixer gives may depend on what the layer reads.
bool Graph::heads_apart(int64_t l, std::string& why) {
  const MixerInfo& info = model_.mixer_info(l);
  const HookPoint* result = model_.catalogue().find(block_point(l, "attn.hook_result"));
  why = "heads have no output or inputs of their own";
  if (info.inputs.empty() || !result || result->sizes.at(2) != info.heads) return false;
  why = std::to_string(info.heads) + " channels";
  if (info.heads > kMostHeads) return false;
  why = "its heads read more than their own inputs";
  auto [it, is_new] = tried_.try_emplace(settings_of(model_.config().layers[static_cast<size_t>(l)], l == 0), false);
  if (is_new) it->second = try_heads(l);
  return it->second;
}

bool Graph::try_heads(int64_t l) const {
  const MixerInfo& info = model_.mixer_info(l);
  const int64_t length = 4, d = model_.config().d_model;
  HookPlan plan;
  plan.logits = false;
  plan.stop_before_layer = l + 1;
  const std::string in = block_point(l, "hook_mixer_in"), out = block_point(l, "hook_attn_out");
  plan.capture(in, {}, true);
  plan.capture(out, {}, true);
  for (const std::string& role : info.inputs)
    plan.edit(block_point(l, "hook_" + role + "_input"), [](const at::Tensor& v, int64_t) { return v.detach(); });
  at::AutoGradMode grad(true);
  at::Tensor ramp = at::arange(length * d, at::TensorOptions().dtype(at::kDouble)).view({1, length, d});
  RunState state;
  state.keep = false;
  state.first_layer = l;
  state.residual = (ramp * 0.7).sin().to(at::TensorOptions().device(model_.device()).dtype(model_.dtype()));
  at::Tensor tokens = at::arange(length, at::TensorOptions().dtype(at::kLong)).remainder(model_.config().vocab_size).unsqueeze(0);
  ForwardResult run = model_.forward(tokens.to(model_.device()), plan, &state);
  at::Tensor weights = (ramp * 1.3).cos().to(run.cache.get(out).options());
  at::Tensor slope = hook_gradients((run.cache.get(out) * weights).sum(), run.cache, {in}).at(in);
  return slope.abs().max().item<double>() == 0;
}

int64_t Graph::find_source(const std::string& name) const {
  auto it = source_index_.find(name);
  return it == source_index_.end() ? -1 : it->second;
}

int64_t Graph::find_input(const std::string& name) const {
  auto it = input_index_.find(name);
  return it == input_index_.end() ? -1 : it->second;
}

std::vector<std::string> Graph::source_names() const {
  std::vector<std::string> out;
  for (const Source& s : sources_) out.push_back(s.name);
  return out;
}

std::vector<std::string> Graph::input_names() const {
  std::vector<std::string> out;
  for (const Input& i : inputs_) out.push_back(i.name);
  return out;
}

at::Tensor Graph::possible() const {
  at::Tensor out = at::zeros({source_count(), input_count()}, at::kBool);
  for (size_t i = 0; i < inputs_.size(); ++i) out.select(1, static_cast<int64_t>(i)).narrow(0, 0, inputs_[i].sources).fill_(true);
  return out;
}

Circuit Graph::to_circuit(std::string name, std::string title, const at::Tensor& scores, const at::Tensor& inside) const {
  Circuit out;
  out.name = std::move(name);
  out.title = std::move(title);
  out.n_layers = engine::layer_count(model_);
  out.n_heads = engine::most_heads(model_);
  out.d_model = model_.config().d_model;
  for (const LayerConfig& l : model_.config().layers) out.parallel_attn_mlp = out.parallel_attn_mlp || l.wiring == Wiring::kParallel;
  at::Tensor s = scores.to(at::kCPU, at::kDouble).contiguous(), in = inside.to(at::kCPU, at::kBool).contiguous();
  const double* score = s.const_data_ptr<double>();
  const bool* member = in.const_data_ptr<bool>();
  const int64_t n = input_count();
  std::vector<double> sums(sources_.size() + 1, 0);
  std::vector<bool> used(sources_.size() + 1, false);
  for (int64_t i = 0; i < n; ++i)
    for (int64_t k = 0; k < inputs_[static_cast<size_t>(i)].sources; ++k) {
      const Input& to = inputs_[static_cast<size_t>(i)];
      const int64_t at_ = k * n + i;
      out.edges.push_back({sources_[static_cast<size_t>(k)].name, to.name, member[at_], score[at_]});
      // A node's score: what leaves it.
      if (std::isfinite(score[at_])) sums[static_cast<size_t>(k)] += score[at_];
      if (!member[at_]) continue;
      used[static_cast<size_t>(k)] = true;
      used[static_cast<size_t>(to.node < 0 ? source_count() : to.node)] = true;
    }
  for (size_t k = 0; k < sources_.size(); ++k) out.nodes.push_back({sources_[k].name, used[k], sums[k]});
  out.nodes.push_back({"logits", used.back(), 0});
  return out;
}

namespace {

Error unknown(const std::string& what, const std::string& where) {
  return Error(StatusCode::kBadInput, "the circuit names " + what + ", which this model does not have", where,
               "use a circuit of this model; `microtome run eap` makes one");
}

}  // namespace

at::Tensor Graph::inside_of(const Circuit& circuit, const std::string& where) const {
  at::Tensor out = at::zeros({source_count(), input_count()}, at::kBool);
  std::vector<bool> off(sources_.size() + 1, false);
  for (const Circuit::Node& n : circuit.nodes) {
    const int64_t k = n.name == "logits" ? source_count() : find_source(n.name);
    if (k < 0) throw unknown("the node '" + n.name + "'", where);
    off[static_cast<size_t>(k)] = !n.in_graph;
  }
  bool* data = out.mutable_data_ptr<bool>();
  for (const Circuit::Edge& e : circuit.edges) {
    const int64_t k = find_source(e.from), i = find_input(e.to);
    if (k < 0 || i < 0 || k >= inputs_[static_cast<size_t>(i)].sources) throw unknown("the edge '" + e.from + "->" + e.to + "'", where);
    const int64_t node = inputs_[static_cast<size_t>(i)].node;
    if (e.in_graph && !off[static_cast<size_t>(k)] && !off[static_cast<size_t>(node < 0 ? source_count() : node)])
      data[k * input_count() + i] = true;
  }
  return out;
}

at::Tensor Graph::scores_of(const Circuit& circuit, const std::string& where) const {
  at::Tensor out = at::full({source_count(), input_count()}, std::nan(""), at::kDouble);
  double* data = out.mutable_data_ptr<double>();
  for (const Circuit::Edge& e : circuit.edges) {
    const int64_t k = find_source(e.from), i = find_input(e.to);
    if (k < 0 || i < 0 || k >= inputs_[static_cast<size_t>(i)].sources) throw unknown("the edge '" + e.from + "->" + e.to + "'", where);
    data[k * input_count() + i] = e.score;
  }
  return out;
}

}  // namespace microtome::circuit
