// circuit-tracer: config.yaml with a transcoder a layer, or with the layers of a cross-layer transcoder.
#include "core/dictionary/formats/format.h"

#include <ATen/ATen.h>

#include "core/base/quote.h"
#include "core/dictionary/formats/circuit_tracer/layers.h"
#include "core/dictionary/formats/files.h"
#include "core/io/plain_yaml.h"

namespace microtome::dictionary_formats {

void register_circuit_tracer(Registry& registry);

namespace {

namespace fs = std::filesystem;
using circuit_tracer::Layer;
constexpr const char* kConfig = "config.yaml";
constexpr size_t kMaxConfig = 1 << 20, kMostLayers = 4096;

bool has_file(const fs::path& p) {
  std::error_code ec;
  return fs::is_regular_file(p, ec);
}

// Others also write a config.yaml; layers beside it, or a field of this name, tell.
bool looks_like(const std::string& path) {
  const fs::path folder = folder_of(path, kConfig);
  if (!has_file(folder / kConfig)) return false;
  if (has_file(folder / "layer_0.safetensors") || has_file(folder / "W_enc_0.safetensors")) return true;
  const Result<std::string> text = read_text_file((folder / kConfig).string(), kMaxConfig);
  return text.is_ok() && text.value().find("model_kind") != std::string::npos;
}

// Where a listed transcoder lies: below the folder, never elsewhere. "hf://owner/name/FILE" is looked for as FILE.
fs::path listed_file(const fs::path& folder, const std::string& listed, const std::string& where) {
  std::string relative = listed;
  const bool remote = listed.starts_with("hf://");
  if (remote) {
    relative = listed.substr(5, listed.find('?') == std::string::npos ? std::string::npos : listed.find('?') - 5);
    for (int part = 0; part < 2; ++part) {
      const size_t slash = relative.find('/');
      relative = slash == std::string::npos ? std::string() : relative.substr(slash + 1);
    }
  }
  const fs::path p = fs::path(relative).lexically_normal();
  bool outside = relative.empty() || p.is_absolute() || relative.find('\0') != std::string::npos;
  for (const fs::path& part : p) outside = outside || part == "..";
  if (outside) throw Error(StatusCode::kBadInput, "field 'transcoders' names " + in_quotes(listed) + ", which is not in the folder", where, "name files of the folder");
  if (!has_file(folder / p))
    throw Error(StatusCode::kBadInput, "field 'transcoders' names " + in_quotes(listed) + ", and the folder has no " + in_quotes(p.generic_string()), where,
                remote ? "download it there" : "put it there");
  return folder / p;
}

std::vector<Layer> find_layers(const fs::path& folder, const Json& config, bool cross_layer, const std::string& where) {
  std::vector<Layer> out;
  if (const auto list = config.find("transcoders"); list != config.end() && !list->is_null()) {
    if (!list->is_array() || list->empty() || list->size() > kMostLayers) throw Error(StatusCode::kBadInput, "field 'transcoders' is no list of files", where);
    for (const Json& item : *list) {
      if (!item.is_string()) throw Error(StatusCode::kBadInput, "field 'transcoders' is no list of files", where);
      out.push_back({listed_file(folder, item.get<std::string>(), where), {}});
    }
    return out;
  }
  for (size_t i = 0; i < kMostLayers; ++i) {
    const std::string n = std::to_string(i);
    const fs::path file = folder / (cross_layer ? "W_enc_" + n + ".safetensors" : "layer_" + n + ".safetensors");
    if (!has_file(file)) break;
    out.push_back({file, cross_layer ? folder / ("W_dec_" + n + ".safetensors") : fs::path()});
  }
  if (out.empty())
    throw Error(StatusCode::kBadInput, std::string("the folder has no ") + (cross_layer ? "W_enc_0.safetensors" : "layer_0.safetensors") + ", and field 'transcoders' names no files", where,
                "download the whole folder");
  return out;
}

std::string point_field(const Json& config, const char* key, const std::string& where) {
  const std::string point = json_string(config, key, where);
  if (point.empty() || point.size() > 100) throw Error(StatusCode::kBadInput, "field '" + std::string(key) + "' is " + in_quotes(point), where, "for example hook_resid_mid");
  return point;
}

DictionarySet read(const std::string& path) {
  const fs::path folder = folder_of(path, kConfig);
  const std::string where = (folder / kConfig).string();
  const Json config = parse_plain_yaml(read_text_file(where, kMaxConfig).value(), where).value();
  const std::string kind = json_string(config, "model_kind", where);
  if (kind != "transcoder_set" && kind != "cross_layer_transcoder")
    throw Error(StatusCode::kUnsupported, "field 'model_kind' is " + in_quotes(kind), where, "read are transcoder_set and cross_layer_transcoder");
  const bool cross_layer = kind == "cross_layer_transcoder";
  const std::string in = point_field(config, "feature_input_hook", where), out = point_field(config, "feature_output_hook", where);
  const std::vector<Layer> layers = find_layers(folder, config, cross_layer, where);
  DictionarySet set;
  set.name = name_of(folder);
  set.format = "circuit_tracer";
  for (size_t i = 0; i < layers.size(); ++i) {
    Dictionary d = circuit_tracer::read_layer(layers[i], static_cast<int64_t>(i), static_cast<int64_t>(layers.size()), cross_layer);
    DictionaryConfig& c = d.config;
    c.hook_in = in_block(static_cast<int64_t>(i), in);
    c.hook_out = in_block(static_cast<int64_t>(i), out);
    c.model = text_or_empty(config, "model_name", where);
    read_own_facts(config, where, c);
    c.name = "layer_" + std::to_string(i);
    c.format = "circuit_tracer";
    c.extra = config.dump(-1, ' ', false, Json::error_handler_t::replace);
    finish(d, layers[i].encoder.string());
    const int64_t width = set.members.empty() ? d.config.d_sae : set.members[0].config.d_sae;
    if (d.config.d_sae != width)
      throw Error(StatusCode::kBadInput, "the layer has " + std::to_string(d.config.d_sae) + " features, and layer 0 has " + std::to_string(width), layers[i].encoder.string(), "the files do not belong together");
    set.members.push_back(std::move(d));
  }
  sort_members(set);
  return set;
}

std::string why_not(const DictionarySet& set) {
  const bool cross_layer = set.cross_layer();
  const int64_t n = static_cast<int64_t>(set.members.size());
  std::string in, out;
  for (int64_t i = 0; i < n; ++i) {
    const Dictionary& d = set.members[static_cast<size_t>(i)];
    const DictionaryConfig& c = d.config;
    const std::string name = "dictionary " + in_quotes(c.name);
    if (!c.transcoder) return name + " is no transcoder, and circuit-tracer puts transcoders in place of MLPs";
    if (c.kind != "standard" && c.kind != "jumprelu") return name + " is a '" + c.kind + "' transcoder, and circuit-tracer has ReLU and JumpReLU only";
    if (c.d_in != c.d_out) return name + " reads " + std::to_string(c.d_in) + " numbers and writes " + std::to_string(c.d_out) + ", and circuit-tracer has one width for both";
    if (c.apply_b_dec_to_input) return name + " takes b_dec off its input, which circuit-tracer does not";
    if (c.normalize != "none" && c.normalize != "expected_average_only_in") return name + " normalises its input by '" + c.normalize + "', which circuit-tracer does not";
    if (d.has("threshold") && d.weight("threshold").min().item<double>() < 0) return name + " has thresholds below 0, under which circuit-tracer's codes become negative";
    const std::string a = after_block(c.hook_in), b = after_block(c.hook_out);
    if (a.empty() || b.empty()) return name + " names no points of a block, which circuit-tracer's configuration needs";
    if (i == 0) in = a, out = b;
    if (a != in || b != out) return "its dictionaries read or write different points of their blocks, and circuit-tracer has one for all layers";
    if (layer_of_hook(c.hook_in) != i || layer_of_hook(c.hook_out) != i)
      return "circuit-tracer needs one transcoder for every layer from 0 on, and layer " + std::to_string(i) + (layer_of_hook(c.hook_in) == i ? " writes elsewhere" : " has none of its own");
    if (c.d_sae != set.members[0].config.d_sae) return "its layers have different numbers of features, and circuit-tracer has one for all";
    if (c.skip != set.members[0].config.skip) return "some of its layers have a skip connection and some have none, and circuit-tracer has all or none";
    if (cross_layer && c.skip) return name + " has a skip connection, which circuit-tracer's files of cross-layer transcoders have no place for";
    if (cross_layer && d.has("threshold") != set.members[0].has("threshold")) return "some of its layers have thresholds and some have none, and circuit-tracer's cross-layer transcoders have all or none";
    if (cross_layer && (d.has("W_dec_later") ? d.weight("W_dec_later").size(0) : 0) != n - 1 - i) return name + " does not write into every later layer, as circuit-tracer's cross-layer transcoders do";
  }
  return {};
}

void write(const DictionarySet& set, const std::string& path) {
  const bool cross_layer = set.cross_layer();
  const DictionaryConfig& first = set.members[0].config;
  Json config = Json::object();
  if (first.format == "circuit_tracer")
    if (const Result<Json> was = parse_json(first.extra, "the dictionary's own fields"); was && was.value().is_object()) config = was.value();
  config.erase("transcoders");             // the files have the names that are looked for without it
  config["model_kind"] = cross_layer ? "cross_layer_transcoder" : "transcoder_set";
  if (!first.model.empty() || !config.contains("model_name")) config["model_name"] = first.model;
  config["feature_input_hook"] = after_block(first.hook_in);
  config["feature_output_hook"] = after_block(first.hook_out);
  if (!config.contains("scan")) config["scan"] = set.name;
  Json own = Json::object();
  if (!first.weights_hash.empty()) own["weights_hash"] = first.weights_hash;
  if (!own.empty()) config["microtome"] = own;
  NewFolder folder(path);
  for (size_t i = 0; i < set.members.size(); ++i) {
    const Dictionary d = without_rescaling(without_norm_factor(in_file_type(set.members[i])));
    const std::string n = std::to_string(i);
    if (cross_layer) circuit_tracer::write_cross_layer(d, n, folder.file("W_enc_" + n + ".safetensors"), folder.file("W_dec_" + n + ".safetensors"));
    else circuit_tracer::write_layer(d, folder.file("layer_" + n + ".safetensors"));
  }
  if (Status s = write_text_file(folder.file(kConfig).string(), plain_yaml(config)); !s) throw Error(std::move(s));
  folder.commit();
}

}  // namespace

void register_circuit_tracer(Registry& registry) {
  registry.add({"circuit_tracer", "circuit-tracer (config.yaml with layer_0.safetensors … or W_enc_0.safetensors …)", "github.com/safety-research/circuit-tracer, version 0.5", looks_like, read,
                why_not, write});
}

}  // namespace microtome::dictionary_formats
