#include "analysis/engine/layers.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <limits>

#include "analysis/engine/pattern_numbers.h"
#include "core/model/weights.h"

namespace microtome::engine {

std::string block_point(int64_t layer, const std::string& point) {
  return "blocks." + std::to_string(layer) + "." + point;
}

bool has_point(const Model& model, int64_t layer, const std::string& point) {
  return model.catalogue().find(block_point(layer, point)) != nullptr;
}

std::string state_point(const Model& model, int64_t layer, const std::string& point) {
  return has_point(model, layer, point + ".ssm") ? point + ".ssm" : point;
}

int64_t state_readers(const Model& model, int64_t layer) {
  const HookPoint* z = model.catalogue().find(block_point(layer, state_point(model, layer, "attn.hook_z")));
  return z ? z->sizes.at(2) : model.mixer_info(layer).heads;
}

int64_t layer_count(const Model& model) { return static_cast<int64_t>(model.config().layers.size()); }

int64_t most_heads(const Model& model) {
  int64_t most = 0;
  for (int64_t l = 0; l < layer_count(model); ++l) most = std::max(most, model.mixer_info(l).heads);
  return most;
}

int64_t pattern_heads(const Model& model, int64_t layer) {
  const HookPoint* p = model.catalogue().find(block_point(layer, "attn.hook_pattern"));
  return p && p->sizes.at(1) > 0 ? p->sizes.at(1) : model.mixer_info(layer).heads;
}

int64_t most_pattern_heads(const Model& model) {
  int64_t most = most_heads(model);
  for (int64_t l = 0; l < layer_count(model); ++l) most = std::max(most, pattern_heads(model, l));
  return most;
}

int64_t most_state_heads(const Model& model) {
  int64_t most = 0;
  for (int64_t l = 0; l < layer_count(model); ++l)
    if (model.mixer_info(l).recurrent) most = std::max(most, model.mixer_info(l).kv_heads);
  return most;
}

std::string head_name(int64_t layer, int64_t head) { return std::to_string(layer) + "." + std::to_string(head); }

std::vector<bool> chosen_heads(const std::string& text, int64_t heads) {
  if (text == "all" || text.empty()) return std::vector<bool>(static_cast<size_t>(heads), true);
  std::vector<bool> out(static_cast<size_t>(heads), false);
  const char *p = text.data(), *end = p + text.size();
  while (p < end) {
    int64_t h = -1;
    auto [next, error] = std::from_chars(p, end, h);
    if (error != std::errc() || h < 0 || h >= heads || (next < end && *next != ','))
      throw Error(StatusCode::kBadInput, "heads is '" + text + "'", "param heads",
                  "give 'all' or numbers from 0 to " + std::to_string(heads - 1) + " with commas between");
    out[static_cast<size_t>(h)] = true;
    p = next + (next < end);
  }
  return out;
}

at::Tensor stream_layers(const Model& model, const at::Tensor& tokens, MixerForm form, int64_t span,
                         const std::function<std::vector<WantedPoint>(int64_t)>& wanted, const OnLayer& on_layer) {
  return stream_layers_asking(model, tokens, form, span, [&](int64_t l) {
    return LayerWish{[l, points = wanted(l)](HookPlan& plan) {
      for (const WantedPoint& p : points) plan.capture(block_point(l, p.name), p.positions);
    }, true};
  }, on_layer);
}

at::Tensor stream_layers_asking(const Model& model, const at::Tensor& tokens, MixerForm form, int64_t span,
                                const std::function<LayerWish(int64_t)>& wish, const OnLayer& on_layer) {
  int64_t length = tokens.size(1);
  at::Tensor x;
  for (int64_t l = 0; l < layer_count(model); ++l) {
    const LayerWish of_layer = wish(l);
    bool cut = of_layer.cut && span > 0 && length > span && !model.mixer_info(l).recurrent && model.config().causal();
    int64_t step = cut ? span : length;
    std::string out_name = block_point(l, "hook_resid_post");
    RunState state;
    state.keep = cut;
    state.length = length;
    std::vector<at::Tensor> parts;
    for (int64_t from = 0; from < length; from += step) {
      int64_t count = std::min(step, length - from);
      HookPlan plan;
      plan.form = form;
      plan.logits = false;
      plan.stop_before_layer = l + 1;
      plan.capture(out_name);
      of_layer.prepare(plan);
      if (x.defined()) {
        state.first_layer = l;
        state.residual = x.narrow(1, from, count);
      }
      ForwardResult r = model.forward(tokens.narrow(1, from, count), plan, &state);
      parts.push_back(r.cache.get(out_name));
      on_layer(l, from, r.cache);
    }
    x = parts.size() == 1 ? parts[0] : at::cat(parts, 1);
  }
  return x;
}

void walk_layer(const Model& model, int64_t layer, const at::Tensor& tokens, const at::Tensor& entry, MixerForm form,
                int64_t begin, int64_t step, const std::function<void(const LayerSpan&, HookPlan&)>& prepare,
                const std::function<void(const LayerSpan&, const ActivationCache&)>& on_span) {
  int64_t length = tokens.size(1);
  RunState state;
  state.length = length;
  for (int64_t from = 0; from < length;) {
    LayerSpan span;
    span.first = from;
    span.looked_at = from >= begin;
    span.count = span.looked_at ? std::min(step, length - from) : begin - from;
    HookPlan plan;
    plan.form = form;
    plan.logits = false;
    plan.stop_before_layer = layer + 1;
    prepare(span, plan);
    state.first_layer = layer;
    state.residual = entry.narrow(1, from, span.count);
    ForwardResult run = model.forward(tokens.narrow(1, from, span.count), plan, &state);
    on_span(span, run.cache);
    from += span.count;
  }
}

at::Tensor final_gain(const Model& model) {
  at::Tensor gain = model.weights().find("ln_final.weight");
  const double offset = model.config().final_norm.offset;
  return gain.defined() && offset != 0 ? gain + offset : gain;
}

void require_linear_readout(const Model& model, const char* analysis) {
  const ModelConfig& c = model.config();
  auto refuse = [&](const std::string& why) {
    throw Error(StatusCode::kUnsupported, std::string(analysis) + " adds up what each part gives to the logits, and " + why,
                c.name, "use activation patching or ablation, which run the model");
  };
  if (!c.head_activation.empty()) refuse("this model passes its last residual through another layer first");
  for (const LayerConfig& l : c.layers)
    if (l.wiring == Wiring::kPostNorm || l.normed_stream || l.keep1 != 1 || l.keep2 != 1)
      refuse("this model's residual stream is itself normalised, layer by layer");
}

at::Tensor final_scale(const Model& model, const at::Tensor& residual) {
  if (model.config().final_norm.kind == NormConfig::Kind::kNone) return at::ones({residual.size(0), 1}, residual.options());
  std::vector<at::Tensor> parts;
  int64_t rows = residual.size(0), chunk = logit_rows(model);
  for (int64_t from = 0; from < rows; from += chunk) {
    at::Tensor x = residual.narrow(0, from, std::min(chunk, rows - from));
    HookPlan plan;
    plan.logits = false;
    plan.capture("ln_final.hook_scale");
    RunState state;
    state.keep = false;
    state.first_layer = layer_count(model);
    state.residual = x.unsqueeze(1);
    at::Tensor tokens = at::zeros({x.size(0), 1}, x.options().dtype(at::kLong));
    parts.push_back(model.forward(tokens, plan, &state).cache.get("ln_final.hook_scale").flatten(0, 1));
  }
  return parts.size() == 1 ? parts[0] : at::cat(parts);
}

at::Tensor unembed(const Model& model, const at::Tensor& residual) {
  // The model itself, resumed behind its last block: one token a row, since no position sees another here.
  RunState state;
  state.keep = false;
  state.first_layer = layer_count(model);
  state.residual = residual.unsqueeze(1);
  at::Tensor tokens = at::zeros({residual.size(0), 1}, residual.options().dtype(at::kLong));
  return model.forward(tokens, {}, &state).logits.squeeze(1);
}

at::Tensor direct_logits(const Model& model, const at::Tensor& contribution) {
  const ModelConfig& c = model.config();
  at::Tensor x = contribution;
  if (c.final_norm.kind == NormConfig::Kind::kLayer) x = x - x.mean(-1, true);
  at::Tensor gain = final_gain(model);
  if (gain.defined()) x = x * gain;
  x = at::linear(x, model.weights().get(c.tied_unembedding ? "embed.weight" : "unembed.weight"));
  return c.logit_scale == 1 ? x : x * c.logit_scale;
}

int64_t logit_rows(const Model& model) {
  return std::max<int64_t>(1, (int64_t{1} << 24) / std::max<int64_t>(1, model.config().vocab_size));
}

at::Tensor attention_mass(const at::Tensor& pattern, bool recurrent, int64_t keys) {
  at::Tensor a = pattern;
  if (a.scalar_type() != at::kDouble) a = a.to(at::kFloat);
  if (recurrent) a = a.abs();
  if (a.size(3) != keys) a = a.unflatten(3, {keys, a.size(3) / keys}).sum(-1);
  return recurrent ? a / a.sum(-1, true).clamp_min(std::numeric_limits<float>::min()) : a;
}

at::Tensor at_offset(const at::Tensor& mass, int64_t first, int64_t offset) {
  int64_t queries = mass.size(2);
  at::Tensor key = at::arange(first, first + queries, at::TensorOptions().dtype(at::kLong)).to(mass.device()) - offset;
  at::Tensor inside = (key >= 0).logical_and(key < mass.size(3));
  at::Tensor index =
      key.clamp(0, mass.size(3) - 1).view({1, 1, queries, 1}).expand({mass.size(0), mass.size(1), queries, 1});
  return mass.gather(3, index).squeeze(3) * inside;
}

at::Tensor pad_nan(const at::Tensor& t, int64_t axis, int64_t size, bool front) {
  int64_t missing = size - t.size(axis);
  if (missing <= 0) return t;
  std::vector<int64_t> shape = t.sizes().vec();
  shape[static_cast<size_t>(axis)] = missing;
  at::Tensor nan = at::full(shape, std::numeric_limits<double>::quiet_NaN(), t.options());
  return front ? at::cat({nan, t}, axis) : at::cat({t, nan}, axis);
}

Table head_table(const Model& model, std::string name, std::string title, const std::vector<HeadScore>& scores) {
  Table out{std::move(name),
            std::move(title),
            {{"layer", "", ""}, {"head", "", ""}, {"kind", "", "softmax or recurrent"}},
            {}};
  std::vector<at::Tensor> values;
  for (const HeadScore& s : scores) {
    out.columns.push_back({s.name, s.unit, s.help});
    values.push_back(s.values.to(at::kCPU, at::kDouble).contiguous());
  }
  for (int64_t l = 0; l < layer_count(model); ++l) {
    const MixerInfo& info = model.mixer_info(l);
    // Scores of patterns may be more than the layer's heads.
    const bool patterns = !values.empty() && values[0].size(1) > most_heads(model);
    for (int64_t h = 0, heads = patterns ? pattern_heads(model, l) : info.heads; h < heads; ++h) {
      std::vector<Cell> row = {l, h, std::string(info.recurrent ? "recurrent" : "softmax")};
      for (const at::Tensor& v : values) {
        double x = v.const_data_ptr<double>()[l * v.size(1) + h];
        row.push_back(std::isnan(x) ? Cell{} : Cell{x});
      }
      out.rows.push_back(std::move(row));
    }
  }
  return out;
}

TensorMap head_map(const Model& model, std::string name, std::string title, const std::vector<HeadScore>& scores,
                   const std::vector<std::string>& diverging) {
  TensorMap out;
  out.name = std::move(name);
  out.title = std::move(title);
  auto number = [](const std::string& prefix, int64_t n) {
    std::vector<std::string> labels;
    for (int64_t i = 0; i < n; ++i) labels.push_back(prefix + std::to_string(i));
    return labels;
  };
  out.axis_labels["layer"] = number("L", layer_count(model));
  int64_t heads = most_heads(model);
  for (const HeadScore& s : scores) heads = std::max(heads, s.values.size(1));
  out.axis_labels["head"] = number("H", heads);
  for (const HeadScore& s : scores) {
    at::Tensor v = s.values.to(at::kCPU, at::kDouble).contiguous();
    NamedArray a{s.name, {"layer", "head"}, v.sizes().vec(), {}, s.unit, s.help};
    const double* data = v.const_data_ptr<double>();
    a.data = std::vector<double>(data, data + v.numel());
    out.arrays.push_back(std::move(a));
    bool two_sided = std::find(diverging.begin(), diverging.end(), s.name) != diverging.end();
    out.looks[s.name] = two_sided ? "diverging" : "sequential";
  }
  return out;
}

std::vector<TopHead> top_heads(const at::Tensor& scores, size_t count) {
  at::Tensor v = scores.to(at::kCPU, at::kDouble).contiguous();
  std::vector<TopHead> all;
  for (int64_t i = 0; i < v.numel(); ++i) {
    double x = v.const_data_ptr<double>()[i];
    if (!std::isnan(x)) all.push_back({i / v.size(1), i % v.size(1), x});
  }
  std::stable_sort(all.begin(), all.end(), [](const TopHead& a, const TopHead& b) { return a.value > b.value; });
  if (all.size() > count) all.resize(count);
  return all;
}

std::string short_number(double value) {
  char text[32];
  double size = std::fabs(value);
  if (size != 0 && (size < 0.01 || size >= 1e6))
    std::snprintf(text, sizeof text, "%.2g", value);
  else
    std::snprintf(text, sizeof text, size >= 100 ? "%.0f" : size >= 10 ? "%.1f" : "%.2f", value);
  return text;
}

}  // namespace microtome::engine
