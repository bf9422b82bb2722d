#include "analysis/head_probes/probe.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <limits>

#include "analysis/engine/layers.h"
#include "analysis/engine/metric.h"

namespace microtome::analyses::head_probes {
namespace {

using engine::block_point;

constexpr int64_t kCopyQueries = 8;  // queries of the second half that copying is measured at, a sequence

at::Tensor nans(int64_t rows, const Model& model) {
  return at::full({rows, engine::layer_count(model), engine::most_heads(model)},
                  std::numeric_limits<double>::quiet_NaN(), at::TensorOptions().dtype(at::kDouble));
}

// Evenly spaced positions of the second half.
std::vector<int64_t> copy_positions(int64_t n) {
  std::vector<int64_t> out;
  int64_t count = std::min(n, kCopyQueries);
  for (int64_t i = 0; i < count; ++i) out.push_back(n + 1 + i * n / count);
  return out;
}

// [rows, head]: how far up the head's own write puts the token it looks at most, -1…1.
at::Tensor copying(const Model& model, const at::Tensor& tokens, const at::Tensor& mass, const at::Tensor& result,
                   const std::vector<int64_t>& queries, Progress& progress) {
  int64_t rows = result.size(0), count = result.size(1), heads = result.size(2);
  at::Tensor at_queries = mass.index_select(2, at::tensor(queries, at::kLong).to(mass.device()));  // [rows, head, q, k]
  // The start token is where heads rest; it is not what they copy.
  at::Tensor best = at_queries.narrow(3, 1, at_queries.size(3) - 1).argmax(-1) + 1;  // [rows, head, q]
  at::Tensor looked_at = tokens.gather(1, best.flatten(1)).view({rows, heads, count}).transpose(1, 2).flatten();
  at::Tensor written = result.flatten(0, 2);  // [rows * q * head, d]
  int64_t chunk = engine::logit_rows(model);
  at::Tensor score = at::empty({written.size(0)}, at::TensorOptions().dtype(at::kDouble));
  for (int64_t from = 0; from < written.size(0); from += chunk) {
    progress.check();
    int64_t some = std::min(chunk, written.size(0) - from);
    at::Tensor logits = engine::direct_logits(model, written.narrow(0, from, some));
    at::Tensor own = logits.gather(1, looked_at.narrow(0, from, some).unsqueeze(1));
    at::Tensor below = (logits < own).sum(-1).to(at::kDouble), above = (logits > own).sum(-1).to(at::kDouble);
    score.narrow(0, from, some).copy_((below - above) / static_cast<double>(logits.size(1) - 1));
  }
  return score.view({rows, count, heads}).mean(1);
}

}  // namespace

std::map<std::string, at::Tensor> probe_repeats(const Model& model, const Sequences& sequences, int64_t begin,
                                                int64_t rows, MixerForm form, Progress& progress) {
  at::Tensor tokens = sequences.tokens.narrow(0, begin, rows);
  int64_t n = sequences.n, length = tokens.size(1);
  std::map<std::string, at::Tensor> out;
  for (const char* name : {"induction", "duplicate", "prev_token", "induction_diagonal", "duplicate_diagonal",
                           "prev_token_diagonal", "copying"})
    out[name] = nans(rows, model);
  std::vector<int64_t> queries = copy_positions(n);
  auto wanted = [&](int64_t l) {
    std::vector<engine::WantedPoint> points;
    if (engine::has_point(model, l, "attn.hook_pattern")) points.push_back({"attn.hook_pattern", {}});
    if (engine::has_point(model, l, "attn.hook_result")) points.push_back({"attn.hook_result", queries});
    return points;
  };
  auto on_layer = [&](int64_t l, int64_t, const ActivationCache& cache) {
    progress.check();
    std::string pattern = block_point(l, "attn.hook_pattern"), result = block_point(l, "attn.hook_result");
    if (!cache.has(pattern)) return;
    at::Tensor m = engine::attention_mass(cache.get(pattern), model.mixer_info(l).recurrent, length);
    int64_t heads = m.size(1);
    auto put = [&](const std::string& name, const at::Tensor& v) {
      out[name].select(1, l).narrow(1, 0, heads).copy_(v);
    };
    auto score = [&](const std::string& name, int64_t offset, int64_t first_query) {
      at::Tensor d = engine::at_offset(m, 0, offset).to(at::kDouble);
      put(name, d.narrow(2, first_query, length - first_query).mean(-1));
      put(name + "_diagonal", d.narrow(2, offset, length - offset).mean(-1));
    };
    score("induction", n - 1, n + 1);
    score("duplicate", n, n + 1);
    score("prev_token", 1, 1);
    if (cache.has(result)) put("copying", copying(model, tokens, m, cache.get(result), queries, progress));
  };
  at::Tensor residual = engine::stream_layers(model, tokens, form, 0, wanted, on_layer);

  at::Tensor flat = residual.narrow(1, 0, length - 1).flatten(0, 1), next = tokens.narrow(1, 1, length - 1).flatten();
  at::Tensor losses = at::empty({flat.size(0)}, at::TensorOptions().dtype(at::kDouble));
  int64_t chunk = engine::logit_rows(model);
  for (int64_t from = 0; from < flat.size(0); from += chunk) {
    progress.check();
    int64_t some = std::min(chunk, flat.size(0) - from);
    at::Tensor logprobs = at::log_softmax(engine::unembed(model, flat.narrow(0, from, some)).to(at::kDouble), -1);
    losses.narrow(0, from, some).copy_(-logprobs.gather(1, next.narrow(0, from, some).unsqueeze(1)).squeeze(1));
  }
  losses = losses.view({rows, length - 1});
  out["loss_first_half"] = losses.narrow(1, 0, n).mean(1);
  out["loss_second_half"] = losses.narrow(1, n, n).mean(1);
  return out;
}

at::Tensor probe_prefix(const Model& model, const Sequences& sequences, int64_t begin, int64_t rows, MixerForm form) {
  at::Tensor tokens = sequences.tokens.narrow(0, begin, rows);
  int64_t n = sequences.n, length = tokens.size(1);
  at::Tensor out = nans(rows, model);
  auto wanted = [&](int64_t l) {
    std::vector<engine::WantedPoint> points;
    if (engine::has_point(model, l, "attn.hook_pattern")) points.push_back({"attn.hook_pattern", {}});
    return points;
  };
  auto on_layer = [&](int64_t l, int64_t, const ActivationCache& cache) {
    std::string pattern = block_point(l, "attn.hook_pattern");
    if (!cache.has(pattern)) return;
    at::Tensor m = engine::attention_mass(cache.get(pattern), model.mixer_info(l).recurrent, length);
    // Every earlier repeat counts: offsets n - 1, 2n - 1 …, from the second repeat on. In repeat r only r of them lie
    // after an occurrence; at_offset is 0 where the key would be before the start, and key 0 follows no token.
    at::Tensor sum = at::zeros({rows, m.size(1)}, at::TensorOptions().dtype(at::kDouble));
    for (int64_t r = 1; r < sequences.times; ++r) {
      int64_t first = 1 + r * n;  // first query that has r earlier occurrences
      at::Tensor d = engine::at_offset(m, 0, r * n - 1).to(at::kDouble);
      sum = sum + d.narrow(2, first, length - first).sum(-1).to(at::kCPU);
    }
    out.select(1, l).narrow(1, 0, m.size(1)).copy_(sum / static_cast<double>((sequences.times - 1) * n));
  };
  engine::stream_layers(model, tokens, form, 0, wanted, on_layer);
  return out;
}

}  // namespace microtome::analyses::head_probes
