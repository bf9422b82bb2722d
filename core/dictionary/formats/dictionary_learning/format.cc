// dictionary_learning: ae.pt, a state dictionary of torch.save, and config.json. Read only; nothing in the pickle is executed.
#include "core/dictionary/formats/format.h"

#include <ATen/ATen.h>

#include <cmath>

#include "core/base/quote.h"
#include "core/dictionary/formats/files.h"

namespace microtome::dictionary_formats {

void register_dictionary_learning(Registry& registry);

namespace {

namespace fs = std::filesystem;
constexpr const char* kWeights = "ae.pt";

bool looks_like(const std::string& path) { return holds(path, kWeights); }

// encoder.weight [d_sae, d_in] and decoder.weight [d_in, d_sae], as torch.nn.Linear keeps them.
struct Linear {
  int64_t d_in, d_sae;
};
Linear take_linear(TensorSource& s, Dictionary& d) {
  const int64_t d_sae = s.size("encoder.weight", 0, 2), d_in = s.size("encoder.weight", 1, 2);
  d.weights["W_enc"] = s.take("encoder.weight", {d_sae, d_in}).t();
  d.weights["W_dec"] = s.take("decoder.weight", {d_in, d_sae}).t();
  return {d_in, d_sae};
}

// W_enc [d_in, d_sae], W_dec [d_sae, d_in], b_enc, b_dec as parameters of their own.
Linear take_parameters(TensorSource& s, Dictionary& d) {
  const int64_t d_in = s.size("W_enc", 0, 2), d_sae = s.size("W_enc", 1, 2);
  d.weights["W_enc"] = s.take("W_enc", {d_in, d_sae});
  d.weights["W_dec"] = s.take("W_dec", {d_sae, d_in});
  d.weights["b_enc"] = s.take("b_enc", {d_sae});
  d.weights["b_dec"] = s.take("b_dec", {d_in});
  return {d_in, d_sae};
}

int64_t whole(double v, const char* name, const std::string& where) {
  if (!(v >= 1 && v < 1e15) || v != std::floor(v)) throw Error(StatusCode::kBadInput, "'" + std::string(name) + "' is " + std::to_string(v), where, "it counts features, from 1 on");
  return static_cast<int64_t>(v);
}

// k stands in the file, in older ones in the trainer's configuration alone.
void take_k(TensorSource& s, const Json& trainer, const std::string& where, Dictionary& d) {
  d.config.k = s.has("k") ? whole(s.number("k"), "k", s.where()) : whole(static_cast<double>(json_int(trainer, "k", where)), "k", where);
}

// One threshold for all features, as a threshold a feature.
void take_threshold(TensorSource& s, Dictionary& d, int64_t d_sae) {
  const double threshold = s.number("threshold");
  if (threshold < 0)
    throw Error(StatusCode::kUnsupported, "the threshold is " + std::to_string(threshold) + ": training ended before it was estimated", s.where(), "train longer than threshold_start_step");
  d.weights["threshold"] = at::full({d_sae}, threshold, d.weights.at("W_enc").options());
}

void take_nested(TensorSource& s, Dictionary& d, int64_t d_sae) {
  int64_t sum = 0;
  for (const int64_t n : s.integers("group_sizes")) {
    if (n < 1 || n > d_sae - sum) throw Error(StatusCode::kBadInput, "'group_sizes' do not add up to " + std::to_string(d_sae) + " features", s.where());
    sum += n;
    if (sum < d_sae) d.config.nested.push_back(sum);
  }
  if (sum != d_sae) throw Error(StatusCode::kBadInput, "'group_sizes' do not add up to " + std::to_string(d_sae) + " features", s.where());
}

void read_class(const std::string& name, TensorSource& s, const Json& trainer, const std::string& where, Dictionary& d) {
  DictionaryConfig& c = d.config;
  if (name == "AutoEncoder") {
    const Linear n = take_linear(s, d);
    d.weights["b_enc"] = s.take("encoder.bias", {n.d_sae});
    d.weights["b_dec"] = s.take("bias", {n.d_in});
  } else if (name == "AutoEncoderNew") {
    const Linear n = take_linear(s, d);
    d.weights["b_enc"] = s.take("encoder.bias", {n.d_sae});
    d.weights["b_dec"] = s.take("decoder.bias", {n.d_in});
    c.apply_b_dec_to_input = false;
  } else if (name == "GatedAutoEncoder") {
    c.kind = "gated";
    const Linear n = take_linear(s, d);
    d.weights["b_dec"] = s.take("decoder_bias", {n.d_in});
    d.weights["b_gate"] = s.take("gate_bias", {n.d_sae});
    d.weights["b_mag"] = s.take("mag_bias", {n.d_sae});
    d.weights["r_mag"] = s.take("r_mag", {n.d_sae});
  } else if (name == "AutoEncoderTopK") {
    c.kind = "topk";
    const Linear n = take_linear(s, d);
    d.weights["b_enc"] = s.take("encoder.bias", {n.d_sae});
    d.weights["b_dec"] = s.take("b_dec", {n.d_in});
    take_k(s, trainer, where, d);
    s.drop("threshold");                   // only kept for a look at it; the k largest are what counts
  } else if (name == "BatchTopKSAE") {
    c.kind = "jumprelu";                   // the form with a fixed threshold, which its encode() takes by default
    const Linear n = take_linear(s, d);
    d.weights["b_enc"] = s.take("encoder.bias", {n.d_sae});
    d.weights["b_dec"] = s.take("b_dec", {n.d_in});
    take_k(s, trainer, where, d);
    take_threshold(s, d, n.d_sae);
  } else if (name == "MatryoshkaBatchTopKSAE") {
    c.kind = "jumprelu";
    const Linear n = take_parameters(s, d);
    take_k(s, trainer, where, d);
    take_threshold(s, d, n.d_sae);
    take_nested(s, d, n.d_sae);
  } else if (name == "JumpReluAutoEncoder") {
    c.kind = "jumprelu";
    const Linear n = take_parameters(s, d);
    d.weights["threshold"] = s.take("threshold", {n.d_sae});
    c.apply_b_dec_to_input = false;
  } else {
    throw Error(StatusCode::kUnsupported, "field 'dict_class' is " + in_quotes(name), where,
                "read are AutoEncoder, AutoEncoderNew, GatedAutoEncoder, AutoEncoderTopK, BatchTopKSAE, MatryoshkaBatchTopKSAE and JumpReluAutoEncoder");
  }
}

// "resid_post_layer_8", "mlp_layer_3", "attention_layer_3": the module whose output was read.
void hooks_of_trainer(const Json& trainer, DictionaryConfig& c) {
  const auto layer = trainer.find("layer"), module = trainer.find("submodule_name");
  if (layer == trainer.end() || !layer->is_number_integer() || module == trainer.end() || !module->is_string()) return;
  const int64_t l = layer->get<int64_t>();
  const std::string name = module->get<std::string>();
  if (l < 0 || l > 100'000) return;
  const char* point = name.starts_with("resid") ? "hook_resid_post" : name.starts_with("mlp") ? "hook_mlp_out" : name.starts_with("att") ? "hook_attn_out" : nullptr;
  if (point) c.hook_in = c.hook_out = in_block(l, point);
}

Dictionary read_one(const fs::path& folder) {
  const std::string where = (folder / "config.json").string();
  const Json config = read_config(folder / "config.json");
  const auto trainer = config.find("trainer");
  if (trainer == config.end() || !trainer->is_object()) throw Error(StatusCode::kBadInput, "field 'trainer' is missing", where, "it names the class of the dictionary");
  Dictionary d;
  TensorSource source = TensorSource::torch((folder / kWeights).string());
  const std::string name = json_string(*trainer, "dict_class", where);
  read_class(name, source, *trainer, where, d);
  source.done("a '" + name.substr(0, 60) + "' of dictionary_learning");
  hooks_of_trainer(*trainer, d.config);
  const auto model = trainer->find("lm_name");
  if (model != trainer->end() && model->is_string()) d.config.model = model->get<std::string>();
  d.config.format = "dictionary_learning";
  d.config.extra = config.dump(-1, ' ', false, Json::error_handler_t::replace);
  finish(d, source.where());
  return d;
}

DictionarySet read(const std::string& path) { return read_folders(path, kWeights, "dictionary_learning", read_one); }

}  // namespace

void register_dictionary_learning(Registry& registry) {
  registry.add({"dictionary_learning", "dictionary_learning (ae.pt and config.json)", "github.com/saprmarks/dictionary_learning, version 0.1", looks_like, read, nullptr, nullptr});
}

}  // namespace microtome::dictionary_formats
