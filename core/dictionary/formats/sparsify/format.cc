// sparsify (EleutherAI): cfg.json and sae.safetensors, one folder a hook point.
#include "core/dictionary/formats/format.h"

#include <ATen/ATen.h>

#include <set>

#include "core/base/quote.h"
#include "core/dictionary/formats/files.h"

namespace microtome::dictionary_formats {

void register_sparsify(Registry& registry);

namespace {

namespace fs = std::filesystem;
constexpr const char* kWeights = "sae.safetensors";

bool looks_like(const std::string& path) { return holds(path, kWeights); }

bool all_digits(const std::string& s) { return !s.empty() && s.size() < 9 && s.find_first_not_of("0123456789") == std::string::npos; }

// Folders are named after modules: "layers.3.mlp" is what layer 3's MLP gives, for a transcoder from what it reads.
void hooks_of_module(const std::string& module, DictionaryConfig& c) {
  std::vector<std::string> parts;
  for (size_t at = 0; at <= module.size();) {
    const size_t dot = std::min(module.find('.', at), module.size());
    parts.push_back(module.substr(at, dot - at));
    at = dot + 1;
  }
  for (size_t i = 0; i + 1 < parts.size(); ++i) {
    if ((parts[i] != "layers" && parts[i] != "h" && parts[i] != "blocks") || !all_digits(parts[i + 1])) continue;
    const int64_t layer = std::stoll(parts[i + 1]);
    const std::string rest = i + 2 < parts.size() ? parts[i + 2] : "";
    if (parts.size() > i + 3) return;      // a part of a part: its point has no name here
    if (rest == "mlp") {
      c.hook_out = in_block(layer, "hook_mlp_out");
      c.hook_in = c.transcoder ? in_block(layer, "mlp.hook_in") : c.hook_out;
    } else if (!c.transcoder && rest.empty()) {
      c.hook_in = c.hook_out = in_block(layer, "hook_resid_post");
    } else if (!c.transcoder && (rest == "attn" || rest == "self_attn" || rest == "attention")) {
      c.hook_in = c.hook_out = in_block(layer, "hook_attn_out");
    }
    return;
  }
}

// The other way round; "": no module has this point as its output.
std::string module_of_hooks(const DictionaryConfig& c) {
  const int64_t layer = layer_of_hook(c.hook_out);
  const std::string point = after_block(c.hook_out), module = "layers." + std::to_string(layer);
  if (layer < 0) return {};
  if (point == "hook_mlp_out") return module + ".mlp";
  if (!c.transcoder && point == "hook_resid_post") return module;
  if (!c.transcoder && point == "hook_attn_out") return module + ".self_attn";
  return {};
}

Dictionary read_one(const fs::path& folder) {
  const std::string where = (folder / "cfg.json").string();
  const Json cfg = read_config(folder / "cfg.json");
  Dictionary d;
  DictionaryConfig& c = d.config;
  const std::string activation = json_string(cfg, "activation", "topk", where);
  if (activation != "topk")
    throw Error(StatusCode::kUnsupported, "field 'activation' is " + in_quotes(activation), where, "read is topk; groupmax takes one feature of each group, which no kind here does");
  if (json_bool(cfg, "signed", false, where)) throw Error(StatusCode::kUnsupported, "field 'signed' is true", where, "codes are at least 0 here");
  const int64_t d_in = json_int(cfg, "d_in", where);
  c.kind = "topk";
  c.k = json_int(cfg, "k", where);
  c.transcoder = json_bool(cfg, "transcode", false, where);
  c.skip = json_bool(cfg, "skip_connection", false, where);
  c.apply_b_dec_to_input = !c.transcoder;
  if (c.skip && !c.transcoder) throw Error(StatusCode::kUnsupported, "field 'skip_connection' is true, and 'transcode' is not", where, "an autoencoder has no skip connection here");
  if (c.k < 1) throw Error(StatusCode::kBadInput, "field 'k' is " + std::to_string(c.k), where, "it counts features, from 1 on");
  TensorSource source = TensorSource::safetensors((folder / kWeights).string());
  const int64_t d_sae = source.size("encoder.weight", 0, 2);
  int64_t said = json_int(cfg, "num_latents", 0, where);
  if (said == 0 && (d_in < 1 || __builtin_mul_overflow(d_in, json_int(cfg, "expansion_factor", 32, where), &said))) said = -1;
  if (said != d_sae)
    throw Error(StatusCode::kBadInput, "fields 'num_latents' and 'expansion_factor' give " + std::to_string(said) + " features, and encoder.weight has " + std::to_string(d_sae), where,
                "the two files do not belong together");
  d.weights["W_enc"] = source.take("encoder.weight", {d_sae, d_in}).t();
  d.weights["b_enc"] = source.take("encoder.bias", {d_sae});
  d.weights["W_dec"] = source.take("W_dec", {d_sae, d_in});
  d.weights["b_dec"] = source.take("b_dec", {d_in});
  if (c.skip) d.weights["W_skip"] = source.take("W_skip", {d_in, d_in});
  source.done("a sparse coder of sparsify");
  hooks_of_module(name_of(folder), c);
  read_own_facts(cfg, where, c);
  c.format = "sparsify";
  c.extra = cfg.dump(-1, ' ', false, Json::error_handler_t::replace);
  finish(d, source.where());
  return d;
}

DictionarySet read(const std::string& path) { return read_folders(path, kWeights, "sparsify", read_one); }

std::string why_not(const DictionarySet& set) {
  for (const Dictionary& d : set.members) {
    const DictionaryConfig& c = d.config;
    const std::string name = "dictionary " + in_quotes(c.name);
    if (d.has("W_dec_later")) return name + " writes into later layers, which sparsify's files have no place for";
    if (c.kind != "topk") return name + " is of kind '" + c.kind + "', and sparsify has TopK only";
    if (c.d_in != c.d_out) return name + " reads " + std::to_string(c.d_in) + " numbers and writes " + std::to_string(c.d_out) + ", and sparsify has one width for both";
    if (c.normalize != "none" && c.normalize != "expected_average_only_in") return name + " normalises its input by '" + c.normalize + "', which sparsify does not";
    if (c.apply_b_dec_to_input == c.transcoder)
      return name + (c.transcoder ? " is a transcoder that takes b_dec off its input" : " does not take b_dec off its input") + ", and sparsify does so for autoencoders alone";
  }
  return {};
}

void write_one(const Dictionary& given, const std::function<fs::path(const std::string&)>& file) {
  const Dictionary d = without_rescaling(without_norm_factor(in_file_type(given)));
  const DictionaryConfig& c = d.config;
  Json cfg = Json::object();
  if (c.format == "sparsify")
    if (const Result<Json> was = parse_json(c.extra, "the dictionary's own fields"); was && was.value().is_object()) cfg = was.value();
  const bool fresh = cfg.empty();
  cfg["activation"] = "topk";
  if (!cfg.contains("expansion_factor")) cfg["expansion_factor"] = c.d_sae % c.d_in == 0 ? c.d_sae / c.d_in : 32;
  if (!cfg.contains("normalize_decoder")) cfg["normalize_decoder"] = false;
  if (fresh || json_int(cfg, "num_latents", 0, "") != 0 || json_int(cfg, "expansion_factor", 32, "") * c.d_in != c.d_sae) cfg["num_latents"] = c.d_sae;
  cfg["k"] = c.k;
  if (!cfg.contains("multi_topk")) cfg["multi_topk"] = false;
  cfg["skip_connection"] = c.skip;
  cfg["transcode"] = c.transcoder;
  cfg["d_in"] = c.d_in;
  DictionaryConfig named;                  // what the folder's name says by itself need not be said again
  named.transcoder = c.transcoder;
  hooks_of_module(c.name, named);
  if (fresh || cfg.contains("microtome") || named.hook_in != c.hook_in || named.hook_out != c.hook_out || !c.weights_hash.empty()) cfg["microtome"] = own_facts(c);
  NamedTensors out = {{"encoder.weight", d.weight("W_enc").t()}, {"encoder.bias", d.weight("b_enc")}, {"W_dec", d.weight("W_dec")}, {"b_dec", d.weight("b_dec")}};
  if (c.skip) out.push_back({"W_skip", d.weight("W_skip")});
  write_tensors(file(kWeights), out);
  if (Status s = write_text_file(file("cfg.json").string(), cfg.dump(2) + "\n"); !s) throw Error(std::move(s));
}

void write(const DictionarySet& set, const std::string& path) {
  NewFolder folder(path);
  std::set<std::string> used;
  for (const Dictionary& d : set.members) {
    std::string below;
    if (set.members.size() > 1) {
      std::string name = module_of_hooks(d.config);
      if (name.empty()) name = d.config.hook_in.empty() ? d.config.name : d.config.hook_in;
      below = unique_name(name, used) + "/";
    }
    write_one(d, [&](const std::string& file) { return folder.file(below + file); });
  }
  folder.commit();
}

}  // namespace

void register_sparsify(Registry& registry) {
  registry.add({"sparsify", "sparsify (cfg.json and sae.safetensors)", "github.com/EleutherAI/sparsify, version 1.3", looks_like, read, why_not, write});
}

}  // namespace microtome::dictionary_formats
