// SAELens: cfg.json and sae_weights.safetensors.
#include "core/dictionary/formats/format.h"

#include <ATen/ATen.h>

#include <set>

#include "core/base/quote.h"
#include "core/dictionary/formats/files.h"
#include "core/dictionary/formats/saelens/config.h"

namespace microtome::dictionary_formats {

void register_saelens(Registry& registry);

namespace {

namespace fs = std::filesystem;
constexpr const char* kWeights = "sae_weights.safetensors";

bool looks_like(const std::string& path) { return holds(path, kWeights); }

// Old files scale codes before the decoder ("scaling_factor", fine-tuned): the factor moves into W_dec's rows.
void take_scaling(TensorSource& source, const Json& cfg, Dictionary& d, int64_t d_sae) {
  if (!source.has("scaling_factor")) return;
  const at::Tensor factor = source.take("scaling_factor", {d_sae});
  if (at::allclose(factor.to(at::kFloat), at::ones({d_sae}))) return;
  if (!json_bool(cfg, "finetuning_scaling_factor", false, source.where()))
    throw Error(StatusCode::kBadInput, "tensor 'scaling_factor' is not 1, and field 'finetuning_scaling_factor' is not true", source.where(), "one of the two is wrong");
  d.weights["W_dec"] = d.weights.at("W_dec") * factor.unsqueeze(1);
}

Dictionary read_one(const fs::path& folder) {
  const std::string where = (folder / "cfg.json").string();
  const Json cfg = read_config(folder / "cfg.json");
  Dictionary d;
  const saelens::Parsed parsed = saelens::parse(cfg, where);
  d.config = parsed.config;
  const DictionaryConfig& c = d.config;
  TensorSource source = TensorSource::safetensors((folder / kWeights).string());
  const int64_t d_in = c.d_in, d_sae = c.d_sae, d_out = c.d_out;
  const auto take = [&](const char* name, std::initializer_list<int64_t> shape) { d.weights[name] = source.take(name, shape); };
  take("W_enc", {d_in, d_sae});
  take("W_dec", {d_sae, d_out});
  take("b_dec", {d_out});
  if (c.kind == "gated") {
    for (const char* name : {"b_gate", "r_mag", "b_mag"}) take(name, {d_sae});
  } else {
    take("b_enc", {d_sae});
  }
  if (c.skip) take("W_skip", {d_out, d_in});
  if (c.kind == "jumprelu" && source.has("log_threshold")) d.weights["threshold"] = source.take("log_threshold", {d_sae}).exp();
  else if (parsed.training) d.weights["threshold"] = at::full({d_sae}, source.number("topk_threshold"), d.weights.at("W_enc").options());
  else if (c.kind == "jumprelu") take("threshold", {d_sae});
  take_scaling(source, cfg, d, d_sae);
  source.done("a '" + parsed.architecture + "' of SAELens");
  if (parsed.training) {                   // in the form in which it is used, as SAELens itself keeps it after training
    d = without_rescaling(d);
    d.config.kind = "jumprelu";
  }
  finish(d, source.where());
  return d;
}

DictionarySet read(const std::string& path) { return read_folders(path, kWeights, "saelens", read_one); }

std::string why_not_one(const Dictionary& d) {
  const DictionaryConfig& c = d.config;
  const std::string name = "dictionary " + in_quotes(c.name);
  if (d.has("W_dec_later")) return name + " writes into later layers, and SAELens has no cross-layer transcoders";
  if (c.kind == "batchtopk" || c.kind == "matryoshka") return name + " chooses over a batch and has no thresholds yet, and SAELens keeps such a one as a JumpReLU";
  if (c.transcoder && c.kind != "standard" && c.kind != "jumprelu") return name + " is a '" + c.kind + "' transcoder, and SAELens has transcoders with ReLU and JumpReLU only";
  if (c.transcoder && c.apply_b_dec_to_input) return name + " is a transcoder that takes b_dec off its input, which SAELens's do not";
  if (c.skip && c.normalize != "none" && c.normalize != "expected_average_only_in") return name + " normalises what its skip connection reads, which SAELens's do not";
  return {};
}

std::string why_not(const DictionarySet& set) {
  for (const Dictionary& d : set.members)
    if (std::string why = why_not_one(d); !why.empty()) return why;
  return {};
}

void write_one(const Dictionary& given, const std::function<fs::path(const std::string&)>& file) {
  Dictionary d = without_norm_factor(in_file_type(given));
  if (d.config.kind != "topk") d = without_rescaling(d);
  const Json cfg = saelens::config_to_write(d.config);
  write_tensors(file(kWeights), {d.weights.begin(), d.weights.end()});
  if (Status s = write_text_file(file("cfg.json").string(), cfg.dump(2) + "\n"); !s) throw Error(std::move(s));
}

void write(const DictionarySet& set, const std::string& path) {
  NewFolder folder(path);
  std::set<std::string> used;
  for (const Dictionary& d : set.members) {
    const std::string& name = d.config.hook_in.empty() ? d.config.name : d.config.hook_in;
    const std::string below = set.members.size() == 1 ? "" : unique_name(name, used) + "/";
    write_one(d, [&](const std::string& file) { return folder.file(below + file); });
  }
  folder.commit();
}

}  // namespace

void register_saelens(Registry& registry) {
  registry.add({"saelens", "SAELens (cfg.json and sae_weights.safetensors)", "github.com/decoderesearch/SAELens, versions 3 to 6", looks_like, read, why_not, write});
}

}  // namespace microtome::dictionary_formats
