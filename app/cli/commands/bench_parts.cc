#include "app/cli/commands/bench_parts.h"

#include "core/base/rng.h"
#include "core/families/registry.h"
#include "core/model/weights.h"

namespace microtome::cli {

std::shared_ptr<Model> bench_model(const CommandLine& line, const Compute& c, std::string& name) {
  if (line.has("--model")) {
    Checkpoint checkpoint = Checkpoint::open(line.get("--model")).value();
    auto [family, config] = families::read_model_config(checkpoint.config(), line.get("--model"));
    name = line.get("--model");
    return std::make_shared<Model>(config, load_weights(checkpoint, *family, config, c.device, c.dtype, false));
  }
  bool small = line.flag("--small");
  Json config = {{"model_type", "gpt2"}, {"n_embd", small ? 128 : 768}, {"n_layer", small ? 4 : 12}, {"n_head", small ? 4 : 12},
                 {"n_positions", 1024}, {"vocab_size", small ? 2048 : 50257}, {"layer_norm_epsilon", 1e-5}, {"activation_function", "gelu_new"}};
  name = small ? "gpt2 shape, 4 layers of 128, random weights" : "gpt2-small shape, random weights";
  auto [family, parsed] = families::read_model_config(config, "bench");
  return std::make_shared<Model>(parsed, random_weights(*family, parsed, c.device, c.dtype, 0));
}

Dataset random_pairs(int64_t count, int64_t length, int64_t vocab) {
  Rng rng(0);
  Dataset d;
  d.name = "random ids";
  for (int64_t i = 0; i < count; ++i) {
    PromptPair p;
    for (int64_t t = 0; t < length; ++t) {
      p.clean_ids.push_back(static_cast<int64_t>(rng.below(static_cast<uint64_t>(vocab))));
      p.corrupted_ids.push_back(static_cast<int64_t>(rng.below(static_cast<uint64_t>(vocab))));
    }
    p.answer_ids = {static_cast<int64_t>(rng.below(static_cast<uint64_t>(vocab)))};
    p.wrong_ids = {static_cast<int64_t>(rng.below(static_cast<uint64_t>(vocab)))};
    d.pairs.push_back(std::move(p));
  }
  return d;
}

}  // namespace microtome::cli
