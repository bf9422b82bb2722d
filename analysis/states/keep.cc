#include "analysis/states/keep.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <charconv>
#include <map>

#include "analysis/engine/arrays.h"
#include "analysis/engine/layers.h"
#include "analysis/engine/prompts.h"
#include "analysis/states/transition.h"
#include "analysis/states/walk.h"

namespace microtome::analyses::states {
namespace {

[[noreturn]] void refuse(const std::string& what, const std::string& hint) {
  throw Error(StatusCode::kBadInput, what, "param keep", hint);
}

// "1.3", blanks around it allowed.
KeptHead read_head(std::string part, const std::string& whole) {
  auto blank = [](char c) { return c == ' ' || c == '\t'; };
  while (!part.empty() && blank(part.back())) part.pop_back();
  while (!part.empty() && blank(part.front())) part.erase(part.begin());
  KeptHead out;
  const char *p = part.data(), *end = p + part.size();
  auto [dot, bad_layer] = std::from_chars(p, end, out.layer);
  bool fine = bad_layer == std::errc() && dot < end && *dot == '.';
  if (fine) {
    auto [stop, bad_head] = std::from_chars(dot + 1, end, out.head);
    fine = bad_head == std::errc() && stop == end && out.layer >= 0 && out.head >= 0;
  }
  if (!fine) refuse("keep is '" + whole + "'", "give heads as layer.head with commas between, such as '1.0,1.3'");
  return out;
}

struct Output {
  const char *name, *help;
  std::vector<std::string> axes;
};
const std::vector<Output>& outputs() {
  static const std::vector<Output> all = {
      {"state", "S_t after the token is written", {"pos", "d_k", "d_v"}},
      {"write", "what the token adds to the state (net change of delta rules)", {"pos", "d_k", "d_v"}},
      {"eigen_k", "transition along k, k'A_t k / |k|²: decay (1 - β|k|²) of delta rules, negative where a write flips what "
                  "its key held", {"pos"}},
      {"eigen_rest", "the transition's other eigenvalues: the decay, which all directions across k share (one a token), or "
                     "all d_k eigenvalues where every channel decays by itself", {"pos", "d_k"}},
      {"product_eigenvalues_re", "eigenvalues of A_t … A_1, real part: what is left after the token of what was stored "
                                 "before the first one", {"pos", "d_k"}},
      {"product_eigenvalues_im", "eigenvalues of A_t … A_1, imaginary part", {"pos", "d_k"}}};
  return all;
}

}  // namespace

std::vector<KeptHead> parse_kept(const std::string& text, const Model& model, int64_t length) {
  std::vector<KeptHead> out;
  if (text.find_first_not_of(" \t") == std::string::npos) return out;
  int64_t layers = engine::layer_count(model), numbers = 0;
  for (size_t from = 0; from <= text.size();) {
    size_t comma = std::min(text.find(',', from), text.size());
    KeptHead h = read_head(text.substr(from, comma - from), text);
    from = comma + 1;
    if (h.layer >= layers)
      refuse("there is no layer " + std::to_string(h.layer), "layers are 0 to " + std::to_string(layers - 1));
    const MixerInfo& info = model.mixer_info(h.layer);
    if (!info.recurrent || !engine::has_point(model, h.layer, "attn.hook_state"))
      refuse("layer " + std::to_string(h.layer) + " (" + info.kind + ") has no state to keep",
             "name heads of recurrent layers");
    if (h.head >= info.kv_heads)
      refuse("layer " + std::to_string(h.layer) + " has no state head " + std::to_string(h.head),
             "its state heads are 0 to " + std::to_string(info.kv_heads - 1));
    bool twice = std::any_of(out.begin(), out.end(),
                             [&](const KeptHead& k) { return k.layer == h.layer && k.head == h.head; });
    if (twice) continue;
    out.push_back(h);
    numbers += 2 * length * info.d_k * info.d_v;
    if (numbers > kMostKept)
      refuse("keeping these states of " + std::to_string(length) + " tokens would take more than " +
                 std::to_string(kMostKept) + " numbers",
             "keep fewer heads, or let the first prompt be shorter");
  }
  std::sort(out.begin(), out.end(), [](const KeptHead& a, const KeptHead& b) {
    return a.layer != b.layer ? a.layer < b.layer : a.head < b.head;
  });
  return out;
}

std::vector<NamedArray> keep_states(const AnalysisInput& input, int64_t layer, const std::vector<int64_t>& heads,
                                    Progress& progress) {
  at::Tensor tokens = at::tensor(input.dataset.pairs[0].clean_ids, at::kLong).unsqueeze(0).to(input.model.device());
  struct Parts {
    std::vector<at::Tensor> state, write, decay, k, beta;
  };
  std::map<int64_t, Parts> kept;
  bool strength = false, delta = true;
  walk_states(input.model, layer, tokens, input.form, 0, progress, [&](int64_t, const Span& span) {
    Rule rule = rule_of(span);
    strength = rule.strength;
    delta = delta && rule.delta;
    // Keys of a rule without write strength: only their direction is used.
    at::Tensor keys = rule.k;
    if (!keys.defined() && span.k.defined() && span.state.size(2) % span.k.size(2) == 0 &&
        span.k.size(3) == span.state.size(3))
      keys = span.k.repeat_interleave(span.state.size(2) / span.k.size(2), 2).to(at::kDouble);
    for (int64_t h : heads) {
      Parts& p = kept[h];
      auto put = [&](std::vector<at::Tensor>& to, const at::Tensor& t, at::ScalarType type) {
        if (t.defined()) to.push_back(t[0].select(1, h).to(at::kCPU, type));
      };
      put(p.state, span.state, at::kFloat);
      put(p.write, span.write, at::kFloat);
      put(p.decay, rule.decay, at::kDouble);
      put(p.k, keys, at::kDouble);
      put(p.beta, rule.beta, at::kDouble);
    }
  });

  std::vector<NamedArray> out;
  for (auto& [h, p] : kept) {
    auto joined = [](const std::vector<at::Tensor>& parts) { return parts.empty() ? at::Tensor() : at::cat(parts); };
    std::map<std::string, at::Tensor> values = {{"state", joined(p.state)}, {"write", joined(p.write)}};
    if (!strength || delta) {
      Transition t;
      t.pos = values["state"].size(0);
      t.d_k = values["state"].size(1);
      t.decay = joined(p.decay);
      t.k = joined(p.k);
      t.beta = joined(p.beta);
      Eigenvalues e = transition_eigenvalues(t, progress);
      values["eigen_k"] = e.along_k;
      values["eigen_rest"] = e.rest;
      values["product_eigenvalues_re"] = e.product_re;
      values["product_eigenvalues_im"] = e.product_im;
    }
    for (const Output& o : outputs()) {
      const at::Tensor& t = values[o.name];
      if (!t.defined()) continue;
      std::vector<std::string> axes(o.axes.begin(), o.axes.begin() + t.dim());
      out.push_back(engine::to_array(o.name + ("_" + std::to_string(h)), axes, t));
    }
  }
  return out;
}

TensorMap kept_map(const AnalysisInput& input, const KeptHead& head, const std::vector<NamedArray>& item) {
  TensorMap map;
  map.name = "state_" + std::to_string(head.layer) + "_" + std::to_string(head.head);
  map.title = "State of head " + engine::head_name(head.layer, head.head) + " over the first prompt";
  for (const Output& o : outputs()) {
    std::string stored = o.name + ("_" + std::to_string(head.head));
    for (const NamedArray& a : item) {
      if (a.name != stored) continue;
      map.arrays.push_back(a);
      map.arrays.back().name = o.name;
      map.arrays.back().help = o.help;
      map.looks[o.name] = "diverging";
    }
  }
  map.axis_labels["pos"] = engine::token_texts(input.tokenizer, input.dataset.pairs[0].clean_ids);
  return map;
}

}  // namespace microtome::analyses::states
