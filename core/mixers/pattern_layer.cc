#include "core/mixers/pattern_layer.h"

#include <ATen/ATen.h>

#include <cmath>

#include "core/mixers/hooked_run.h"
#include "core/mixers/projections.h"
#include "core/mixers/recurrence_op.h"
#include "core/mixers/recurrent_layer.h"

namespace microtome::mixers {

using Keys = PatternLayerConfig::Keys;

void require_not_causal(const Params& p, const std::string& kind) {
  if (p.get_bool("causal", true))
    throw Error(StatusCode::kBadInput, "causal is true, but this mixer sees all positions", "mixer " + kind,
                "set causal to false");
}

PatternLayerConfig read_pattern_params(const Params& p, int64_t d_model, const std::string& kind) {
  require_not_causal(p, kind);
  PatternLayerConfig c;
  c.kind = kind;
  c.d_model = d_model;
  c.heads = p.get_int("num_heads");
  c.head_k = p.get_int("head_k");
  c.head_v = p.get_int("head_v", c.head_k);
  check_size(kind, "d_model", d_model, 1 << 20);
  check_size(kind, "num_heads", c.heads, 1 << 16);
  check_size(kind, "head_k", c.head_k, 1 << 20);
  check_size(kind, "head_v", c.head_v, 1 << 20);
  return c;
}

MixerInfo pattern_info(const PatternLayerConfig& c, const std::string& note) {
  MixerInfo info;
  info.kind = c.kind;
  info.heads = info.kv_heads = c.heads;
  info.d_k = c.head_k;
  info.d_v = c.head_v;
  info.forms = {MixerForm::kNaive, MixerForm::kChunk};
  info.inputs = c.keys == Keys::kQueries ? std::vector<std::string>{"q", "v"} : std::vector<std::string>{"q", "k", "v"};
  const std::vector<std::string> by_head = {"batch", "pos", "head", "d_head"};
  info.points.push_back({"hook_q", by_head, {-1, -1, c.heads, c.head_k}, false, ""});
  if (c.keys != Keys::kQueries) info.points.push_back({"hook_k", by_head, {-1, -1, c.heads, c.head_k}, false, ""});
  info.points.push_back({"hook_v", by_head, {-1, -1, c.heads, c.head_v}, false, ""});
  info.points.push_back({"hook_pattern", {"batch", "head", "q_pos", "k_pos"}, {-1, c.heads, -1, -1}, true, note});
  info.points.push_back({"hook_z", {"batch", "pos", "head", "d_v"}, {-1, -1, c.heads, c.head_v}, false, ""});
  if (c.project_out)
    info.points.push_back({"hook_result", {"batch", "pos", "head", "d_model"}, {-1, -1, c.heads, c.d_model}, true, ""});
  return info;
}

std::vector<WeightSpec> pattern_weights(const PatternLayerConfig& c) {
  std::vector<WeightSpec> w = {{"q_proj.weight", {c.heads * c.head_k, c.d_model}}};
  if (c.keys == Keys::kProjected) w.push_back({"k_proj.weight", {c.heads * c.head_k, c.d_model}});
  w.push_back({"v_proj.weight", {c.heads * c.head_v, c.d_model}});
  if (c.project_out) w.push_back({"o_proj.weight", {c.d_model, c.heads * c.head_v}});
  return w;
}

PatternLayer::PatternLayer(PatternLayerConfig config, WeightMap weights, const std::vector<WeightSpec>& specs)
    : config_(std::move(config)), info_(pattern_info(config_)), weights_(std::move(weights)) {
  require_weights(weights_, specs, config_.kind);
}

at::Tensor heads_first(const at::Tensor& x) { return x.transpose(1, 2); }

at::Tensor PatternLayer::forward(const MixerInput& in, MixerState* state, HookScope& hooks, const MixerRun& run) const {
  const PatternLayerConfig& c = config_;
  check_input(in, c.d_model, c.kind);
  if (state)
    throw Error(StatusCode::kUnsupported, "this mixer sees all positions and keeps no state", "mixer " + c.kind,
                "run the whole sequence at once");
  refuse_recurrent_form(run, c.kind);
  auto project = [&](const std::string& role) {
    return project_heads(in, role, weights_.at(role + "_proj.weight"), {}, c.heads, c.heads);
  };
  at::Tensor q = hooks.apply("hook_q", project("q")), k;
  if (c.keys == Keys::kProjected) k = project("k");
  if (c.keys == Keys::kInput) k = in.split.count("k") ? in.split.at("k") : in.x.unsqueeze(2);
  if (k.defined()) k = heads_first(at_least_float32(hooks.apply("hook_k", k)));
  at::Tensor v = heads_first(at_least_float32(hooks.apply("hook_v", project("v"))));
  q = heads_first(at_least_float32(q));
  at::Tensor z;
  if (run.form == MixerForm::kNaive || hooks.wants("hook_pattern"))
    z = at::matmul(hooks.apply("hook_pattern", pattern(q, k)), v);
  else
    z = mix(q, k, v);
  z = hooks.apply("hook_z", heads_first(z).to(in.x.scalar_type()));
  return c.project_out ? project_out(z, weights_.at("o_proj.weight"), hooks) : z.squeeze(2);
}

PatternOpInputs pattern_op_inputs(const MixerOpRequest& request, bool with_k) {
  at::Tensor q = op_input(request, "q", 4), v = op_input(request, "v", 4);
  at::Tensor k = with_k ? op_input(request, "k", 4) : at::Tensor();
  if (q.sizes().slice(0, 3) != v.sizes().slice(0, 3) || (with_k && q.sizes() != k.sizes()))
    throw Error(StatusCode::kBadInput, "q " + c10::str(q.sizes()) + (with_k ? ", k " + c10::str(k.sizes()) : std::string()) +
                                           " and v " + c10::str(v.sizes()) + " do not fit together");
  return {heads_first(q), with_k ? heads_first(k) : k, heads_first(v)};
}

double op_scale(const MixerOpRequest& request, int64_t d) {
  const double scale = request.scalars.get_float("scale", 1.0 / std::sqrt(static_cast<double>(d)));
  if (!std::isfinite(scale)) throw Error(StatusCode::kBadInput, "scale is not a finite number");
  return scale;
}

}  // namespace microtome::mixers
