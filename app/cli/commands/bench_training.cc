// The training workload: one step of each kind of sparse autoencoder on activations that are there already, in the dense form
// (autograd, the definition) and in the sparse one, with both loss curves on the same batches; beside them what a step cannot do without.
#include <ATen/ATen.h>

#include <cmath>

#include "app/cli/commands/bench_parts.h"
#include "core/dictionary/kinds/kind.h"
#include "core/training/trainer.h"

namespace microtome::cli {
namespace {

DictionaryConfig config_of(const std::string& kind, int64_t d_in, int64_t d_sae) {
  DictionaryConfig c;
  c.kind = kind;
  c.d_in = c.d_out = d_in;
  c.d_sae = d_sae;
  const bool counts = kind == "topk" || kind == "batchtopk" || kind == "matryoshka";
  c.k = counts ? 32 : 0;
  c.rescale_acts_by_decoder_norm = counts;
  if (kind == "matryoshka") c.nested = {d_sae / 16, d_sae / 4};
  return c;
}

TrainerSettings settings_of(TrainerSettings::Form form, at::ScalarType products, int64_t steps) {
  TrainerSettings s;
  s.form = form;
  s.loss.products = products;
  s.loss.l1 = 5;
  s.loss.l0 = 1;
  s.loss.bandwidth = 0.05;
  s.steps = steps;
  return s;
}

// Activations with structure: a few of many directions a token.
at::Tensor activations(int64_t tokens, int64_t d_in, c10::Device device) {
  at::Tensor directions = at::randn({4 * d_in, d_in}, at::TensorOptions(at::kFloat).device(device));
  at::Tensor which = at::randint(4 * d_in, {tokens * 16}, at::TensorOptions(at::kLong).device(device));
  at::Tensor sizes = at::rand({tokens * 16, 1}, directions.options());
  at::Tensor out = at::zeros({tokens, d_in}, directions.options());
  for (int64_t part = 0; part < 16; ++part) out += directions.index_select(0, which.slice(0, part * tokens, (part + 1) * tokens)) * sizes.slice(0, part * tokens, (part + 1) * tokens);
  return out * (std::sqrt(static_cast<double>(d_in)) / out.norm(2, 1).mean().item<double>());
}

}  // namespace

Json training_bench(const CommandLine& line, const Compute& c, Progress&) {
  const bool cpu = c.device.is_cpu(), small = line.flag("--small");
  const int64_t d_in = small ? 128 : 768, d_sae = small ? 1024 : cpu ? 6144 : 24576, batch = small ? 512 : 4096;
  const int runs = cpu ? 3 : 20;
  at::manual_seed(c.seed);
  Json out = {{"d_in", d_in}, {"d_sae", d_sae}, {"batch", batch}, {"k", 32}, {"tf32", c.tf32}};
  // Products that a step cannot do without, forward alone: 2 · batch · d_in · d_sae.
  out["flop_of_encoder"] = 2.0 * static_cast<double>(batch) * static_cast<double>(d_in) * static_cast<double>(d_sae);
  // Adam reads and writes weights and both moments, and reads the gradient, which the step wrote.
  const double weights = 2.0 * static_cast<double>(d_in) * static_cast<double>(d_sae);
  out["bytes_of_adam"] = 8.0 * 4 * weights;
  // Rows of W_dec that are decoded, and rows of the error and of x that the gradients are summed of, with two bytes a number.
  out["bytes_of_rows"] = 3.0 * 2 * 32 * static_cast<double>(batch) * static_cast<double>(d_in);
  // The floor of a sparse step: the encoder's product and Adam's bytes at the speeds that this machine reaches.
  {
    const at::TensorOptions on = at::TensorOptions(at::kFloat).device(c.device);
    at::Tensor x = at::randn({batch, d_in}, on), w = at::randn({d_sae, d_in}, on), big = at::randn({small || cpu ? 1 << 22 : 1 << 28}, on), other = at::empty_like(big);
    const double copied = timed(c.device, runs, 2, [&] { other.copy_(big); }).median / (8.0 * static_cast<double>(big.numel()));
    for (auto type : {at::kFloat, at::kBFloat16}) {
      if (cpu && type == at::kBFloat16) continue;
      at::Tensor a = x.to(type), b = w.to(type).t();
      const double product = timed(c.device, runs, 2, [&] { a.mm(b); }).median, adam = out["bytes_of_adam"].get<double>() * copied;
      out["floor"][type == at::kFloat ? "float32" : "bfloat16"] = {{"encoder_s", product}, {"adam_s", adam}, {"tokens_per_s", static_cast<double>(batch) / (product + adam)}};
    }
  }
  std::vector<at::Tensor> batches;
  for (int i = 0; i < 4; ++i) batches.push_back(activations(batch, d_in, c.device));
  at::Tensor mean = batches[0].mean(0);
  using Form = TrainerSettings::Form;
  struct Way { const char* name; Form form; at::ScalarType products; };
  std::vector<Way> ways = {{"dense", Form::kDense, at::kFloat}, {"sparse", Form::kSparse, at::kFloat}};
  if (!cpu) ways.insert(ways.end(), {{"dense_bfloat16", Form::kDense, at::kBFloat16}, {"sparse_bfloat16", Form::kSparse, at::kBFloat16}});
  // The directions are the same for all kinds, and take their time.
  const Dictionary first = Trainer::initial(config_of("topk", d_in, d_sae), mean, 0.1, 0.01, 0, 1);
  for (const char* kind : {"topk", "batchtopk", "matryoshka", "standard", "jumprelu", "gated"}) {
    const DictionaryConfig config = config_of(kind, d_in, d_sae);
    Dictionary start;
    start.config = config;
    for (const char* name : {"W_enc", "W_dec", "b_dec"}) start.weights[name] = first.weight(name);
    for (const auto& [name, shape] : dictionary_kinds::builtin().get(kind).own_weights(config)) start.weights[name] = at::full(shape, name == "threshold" ? 0.01 : 0.0, mean.options());
    for (const Way& way : ways) {
      if (way.form == Form::kSparse && config.k == 0) continue;
      Trainer trainer({start}, settings_of(way.form, way.products, 1 << 20));
      int64_t next = 0;
      Timed t = timed(c.device, runs, cpu ? 1 : 5, [&] {
        const at::Tensor& x = batches[static_cast<size_t>(next++ % 4)];
        trainer.step({x}, {x});
      });
      Json one = t.json();
      one["tokens_per_s"] = static_cast<double>(batch) / t.median;
      out[kind][way.name] = one;
      // As the reference has them: the quickest form of a kind, float32 or TF32 beside its float32, BF16 beside its autocast.
      const bool narrow = way.products == at::kBFloat16, quickest = (way.form == Form::kSparse) == (config.k > 0);
      const double reference = small || cpu || !(narrow || c.tf32) ? 0 : kind == std::string("topk") ? (narrow ? 401e3 : 371e3) : kind == std::string("batchtopk") ? (narrow ? 323e3 : 302e3)
                             : kind == std::string("standard") ? (narrow ? 468e3 : 427e3) : kind == std::string("jumprelu") ? (narrow ? 332e3 : 311e3) : 0;
      if (!quickest) continue;
      Compute as = c;
      if (narrow) as.dtype = at::kBFloat16, as.tf32 = false;
      BenchLine row(std::string("training step, ") + kind + ", " + std::to_string(d_in) + " → " + std::to_string(d_sae) + ", batch " + std::to_string(batch), t);
      row.per = static_cast<double>(batch), row.unit = "tokens";
      row.bytes = out["bytes_of_adam"].get<double>(), row.flop = (config.k > 0 ? 2.0 : 12.0) * static_cast<double>(batch * d_in * d_sae);
      row.reference = reference;
      if (narrow && kind == std::string("topk") && !small) row.aim = 3e6;
      out["table"].push_back(row.json(as));
    }
  }
  // The same small training in both forms.
  const int64_t steps = 100, few = 256;
  std::vector<at::Tensor> data;
  for (int i = 0; i < 20; ++i) data.push_back(activations(few, 64, c.device));
  for (const char* kind : {"topk", "batchtopk", "matryoshka"}) {
    Json curves = Json::object();
    for (const Way& way : ways) {
      Trainer trainer({Trainer::initial(config_of(kind, 64, 512), data[0].mean(0), 0.1, 0.01, 0, 1)}, settings_of(way.form, way.products, steps));
      Json curve = Json::array();
      for (int64_t s = 0; s < steps; ++s) {
        const at::Tensor& x = data[static_cast<size_t>(s % 20)];
        StepReport r = trainer.step({x}, {x});
        if (s % 10 == 9) curve.push_back(r.loss.item<double>());
      }
      curves[way.name] = curve;
    }
    out["loss_every_10_steps"][kind] = curves;
  }
  return out;
}

}  // namespace microtome::cli
