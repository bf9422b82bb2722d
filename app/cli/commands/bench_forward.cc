// The forward workload: one pass, plain and with every hook point cached; and generation token by token.
#include <ATen/ATen.h>

#include "app/cli/commands/bench_parts.h"
#include "core/base/rng.h"
#include "core/families/registry.h"
#include "core/model/generation.h"
#include "core/model/weights.h"

namespace microtome::cli {

Json forward_bench(const CommandLine& line, const Compute& c, Progress&) {
  std::string name;
  auto model = bench_model(line, c, name);
  bool cpu = c.device.is_cpu(), small = line.flag("--small");
  int64_t b = cpu ? 8 : 16, t = small ? 32 : cpu ? 128 : 256;
  Rng rng(0);
  std::vector<int64_t> ids;
  for (int64_t i = 0; i < b * t; ++i) ids.push_back(static_cast<int64_t>(rng.below(static_cast<uint64_t>(model->config().vocab_size))));
  at::Tensor tokens = at::tensor(ids, at::kLong).view({b, t}).to(c.device);
  int runs = cpu ? 3 : 30;
  Json out = {{"model", name}, {"batch", b}, {"tokens", t}};
  const Timed plain = timed(c.device, runs, 3, [&] { model->forward(tokens); });
  HookPlan everything;
  for (const HookPoint& p : model->catalogue().points())
    if (!p.on_request || p.name.ends_with("hook_pattern") || p.name.ends_with("hook_attn_scores")) everything.capture(p.name);
  double cached = 0;
  {
    ForwardResult r = model->forward(tokens, everything);
    for (const std::string& point : r.cache.names()) {
      const at::Tensor t = r.cache.get(point);
      cached += static_cast<double>(t.numel()) * static_cast<double>(t.element_size());
    }
  }
  const Timed all = timed(c.device, runs, 3, [&] { model->forward(tokens, everything); });
  out["forward"] = plain.json();
  out["forward_with_every_point_cached"] = all.json();
  out["bytes_cached"] = cached;
  const ModelConfig& config = model->config();
  const double weights = static_cast<double>(parameter_count(config)), rows = static_cast<double>(b * t);
  const double logits = rows * static_cast<double>(config.vocab_size);
  const bool known = !line.has("--model") && !small && !cpu;
  BenchLine row("forward, " + std::to_string(b) + " × " + std::to_string(t) + " tokens", plain);
  // Each parameter of a product once a token (a tied embedding is the unembedding's); attention as it is: both products.
  row.flop = 2 * rows * (weights - static_cast<double>(config.learned_positions * config.d_model)) +
             static_cast<double>(config.layers.size()) * 4 * rows * static_cast<double>(t) * static_cast<double>(config.d_model) / 2;
  row.bytes = static_cast<double>(c10::elementSize(c.dtype)) * (weights + logits);
  out["table"].push_back(row.json(c));
  row.what = "the same with every hook point cached";
  row.seconds = all.median;
  row.bytes += cached;
  if (known) row.reference = 0.0256, row.aim = 0.008;
  out["table"].push_back(row.json(c));
  return out;
}

namespace {

// A model of GPT-2-small's widths whose layers mix by a linear rule.
std::shared_ptr<Model> linear_model(const Json& mixer, bool small, const Compute& c) {
  const Json config = {{"model_type", "microtome"}, {"vocab_size", small ? 2048 : 50257}, {"d_model", small ? 128 : 768}, {"n_layers", small ? 4 : 12},
                       {"tied_unembedding", true}, {"norm", {{"kind", "rms"}, {"eps", 1e-5}}},
                       {"defaults", {{"mixer", mixer}, {"channel", {{"d_mlp", small ? 256 : 2048}}}}}};
  auto [family, parsed] = families::read_model_config(config, "bench");
  return std::make_shared<Model>(parsed, random_weights(*family, parsed, c.device, c.dtype, 0));
}

}  // namespace

Json decode_bench(const CommandLine& line, const Compute& c, Progress&) {
  const bool cpu = c.device.is_cpu(), small = line.flag("--small");
  const int64_t prompt = 64, heads = small ? 4 : 12, width = small ? 32 : 64;
  const int rounds = 21, count = cpu ? 2 : 8;               // each round so many tokens
  std::vector<std::pair<std::string, std::shared_ptr<Model>>> models;
  std::string name;
  models.emplace_back("softmax attention", bench_model(line, c, name));
  if (!line.has("--model")) {
    const Json sizes = {{"num_heads", heads}, {"head_k", width}, {"head_v", width}};
    for (const auto& [title, kind] : {std::pair{"GLA", "gla"}, {"delta rule", "delta_rule"}, {"gated delta rule", "gated_delta_rule"}}) {
      Json mixer = sizes;
      mixer["kind"] = kind;
      models.emplace_back(title, linear_model(mixer, small, c));
    }
    models.emplace_back("retention", linear_model({{"kind", "retention"}, {"num_heads", heads}, {"head_k", width}, {"head_v", width}}, small, c));
  } else {
    models.front().first = name;
  }
  Json out = Json::object();
  for (const auto& [title, model] : models) {
    const int64_t vocab = model->config().vocab_size;
    const at::Tensor tokens = (at::arange(prompt, at::kLong) * 7919 % vocab).unsqueeze(0).to(c.device);
    Json one = {{"prompt", prompt}, {"batch", 1}, {"tokens_a_run", count}};
    at::Tensor last[3];
    Timed best;
    std::string why_not;
    int way = 0;
    for (const auto& [label, steps] : {std::pair{"plain", Generation::Steps::kPlain}, {"in_place", Generation::Steps::kInPlace}, {"recorded", Generation::Steps::kRecorded}}) {
      Generation g(*model, MixerForm::kAuto, steps);
      g.start(tokens);
      int64_t id = 1;
      // The next token is that with the greatest logit, as generation has it: each step waits for the one before.
      const Timed t = timed(c.device, rounds, 1, [&] {
        for (int i = 0; i < count; ++i) {
          last[way] = g.step(at::tensor({id}, at::kLong));
          id = last[way].argmax(-1).item<int64_t>();
        }
      });
      last[way] = last[way].clone();
      one[label] = t.json();
      one[label]["tokens_per_s"] = count / t.median;
      best = t;
      why_not = g.why_not();
      ++way;
    }
    one["recorded_equals_in_place"] = last[1].equal(last[2]);
    one["max_abs_difference_to_plain"] = (last[0] - last[2]).abs().max().item<double>();
    if (!why_not.empty()) one["not_recorded"] = why_not;
    out[title] = one;
    BenchLine row("generation, " + title + ", one prompt", best);
    row.per = count;
    row.unit = "tokens";
    row.bytes = static_cast<double>(count) * static_cast<double>(parameter_count(model->config())) * static_cast<double>(c10::elementSize(c.dtype));
    out["table"].push_back(row.json(c));
  }
  return out;
}

}  // namespace microtome::cli
