#include "analysis/head_probes/probe.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <limits>

#include "analysis/engine/layers.h"
#include "analysis/engine/metric.h"
#include "analysis/engine/pattern_numbers.h"

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

// [rows, head]: how far up the head's own write puts the token it looks at most, -1…1. at_queries: where it looks, [rows, head, q, k]
at::Tensor copying(const Model& model, const at::Tensor& tokens, const at::Tensor& at_queries, const at::Tensor& result, Progress& progress) {
  int64_t rows = result.size(0), count = result.size(1), heads = result.size(2);
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
  // p[q, q - offset] at these offsets: all that is read of a pattern, but for the copying's queries.
  const std::vector<int64_t> offsets = {n - 1, n, 1};
  auto wish = [&](int64_t l) {
    return engine::LayerWish{[&, l](HookPlan& plan) {
      const bool numbers = engine::has_pattern_numbers(model, l);
      if (numbers) engine::ask_offsets(plan, l, offsets);
      if (engine::has_point(model, l, "attn.hook_pattern")) plan.capture(block_point(l, "attn.hook_pattern"), numbers ? queries : std::vector<int64_t>());
      if (engine::has_point(model, l, "attn.hook_result")) plan.capture(block_point(l, "attn.hook_result"), queries);
    }};
  };
  auto on_layer = [&](int64_t l, int64_t, const ActivationCache& cache) {
    progress.check();
    std::string pattern = block_point(l, "attn.hook_pattern"), result = block_point(l, "attn.hook_result");
    if (!cache.has(pattern)) return;
    const bool numbers = engine::has_pattern_numbers(model, l);
    at::Tensor m = engine::attention_mass(cache.get(pattern), model.mixer_info(l).recurrent, length);
    int64_t heads = m.size(1);
    auto put = [&](const std::string& name, const at::Tensor& v) {
      out[name].select(1, l).narrow(1, 0, heads).copy_(v);
    };
    auto score = [&](const std::string& name, int64_t place, int64_t first_query) {
      const int64_t offset = offsets[static_cast<size_t>(place)];
      at::Tensor d = (numbers ? engine::at_place(cache, l, place) : engine::at_offset(m, 0, offset)).to(at::kDouble);
      put(name, d.narrow(2, first_query, length - first_query).mean(-1));
      put(name + "_diagonal", d.narrow(2, offset, length - offset).mean(-1));
    };
    score("induction", 0, n + 1);
    score("duplicate", 1, n + 1);
    score("prev_token", 2, 1);
    if (!cache.has(result)) return;
    if (!numbers) m = m.index_select(2, at::tensor(queries, at::kLong).to(m.device()));
    put("copying", copying(model, tokens, m, cache.get(result), progress));
  };
  at::Tensor residual = engine::stream_layers_asking(model, tokens, form, 0, wish, on_layer);

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
  // Every earlier repeat counts: offsets n - 1, 2n - 1 …, from the second repeat on.
  std::vector<int64_t> offsets;
  for (int64_t r = 1; r < sequences.times; ++r) offsets.push_back(r * n - 1);
  auto wish = [&](int64_t l) {
    return engine::LayerWish{[&, l](HookPlan& plan) {
      if (engine::has_pattern_numbers(model, l)) engine::ask_offsets(plan, l, offsets);
      else if (engine::has_point(model, l, "attn.hook_pattern")) plan.capture(block_point(l, "attn.hook_pattern"));
    }};
  };
  auto on_layer = [&](int64_t l, int64_t, const ActivationCache& cache) {
    const bool numbers = engine::has_pattern_numbers(model, l);
    std::string pattern = block_point(l, "attn.hook_pattern");
    if (!numbers && !cache.has(pattern)) return;
    at::Tensor m = numbers ? at::Tensor() : engine::attention_mass(cache.get(pattern), model.mixer_info(l).recurrent, length), sum;
    // In repeat r only r of the offsets lie after an occurrence; p is 0 where the key would be before the start, and key 0
    // follows no token.
    for (int64_t r = 1; r < sequences.times; ++r) {
      int64_t first = 1 + r * n;  // first query that has r earlier occurrences
      at::Tensor d = (numbers ? engine::at_place(cache, l, r - 1) : engine::at_offset(m, 0, offsets[static_cast<size_t>(r - 1)])).to(at::kDouble);
      at::Tensor part = d.narrow(2, first, length - first).sum(-1).to(at::kCPU);
      sum = sum.defined() ? sum + part : part;
    }
    out.select(1, l).narrow(1, 0, sum.size(1)).copy_(sum / static_cast<double>((sequences.times - 1) * n));
  };
  engine::stream_layers_asking(model, tokens, form, 0, wish, on_layer);
  return out;
}

}  // namespace microtome::analyses::head_probes
