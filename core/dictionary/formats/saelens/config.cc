#include "core/dictionary/formats/saelens/config.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>

#include "core/base/quote.h"
#include "core/dictionary/formats/files.h"

namespace microtome::dictionary_formats::saelens {
namespace {

struct Architecture {
  const char* name;
  const char* kind;
  bool transcoder, skip;
};
constexpr std::array<Architecture, 10> kArchitectures = {{{"standard", "standard", false, false},
                                                          {"gated", "gated", false, false},
                                                          {"topk", "topk", false, false},
                                                          {"jumprelu", "jumprelu", false, false},
                                                          {"batchtopk", "batchtopk", false, false},
                                                          {"matryoshka_batchtopk", "matryoshka", false, false},
                                                          {"transcoder", "standard", true, false},
                                                          {"skip_transcoder", "standard", true, true},
                                                          {"jumprelu_transcoder", "jumprelu", true, false},
                                                          {"jumprelu_skip_transcoder", "jumprelu", true, true}}};
// The layout that is written is that of SAELens 6; its reader asks for the version to know.
constexpr const char* kVersion = "6.0.0";
// What versions before 6 kept beside the rest, and 6 keeps in "metadata".
constexpr const char* kMetadataKeys[] = {"model_name", "hook_name", "model_class_name", "hook_head_index", "model_from_pretrained_kwargs", "prepend_bos",
                                         "exclude_special_tokens", "neuronpedia_id", "context_size", "seqpos_slice", "dataset_path",
                                         "sae_lens_training_version", "hook_name_out", "hook_head_index_out"};

const Architecture& architecture_of(const std::string& name, const std::string& where) {
  std::string names;
  for (const Architecture& a : kArchitectures) {
    if (name == a.name) return a;
    names += (names.empty() ? "" : ", ") + std::string(a.name);
  }
  throw Error(StatusCode::kUnsupported, "field 'architecture' is " + in_quotes(name), where, "read are " + names);
}

const Json& metadata_of(const Json& cfg, const std::string& where) {
  static const Json none = Json::object();
  const auto it = cfg.find("metadata");
  if (it == cfg.end() || it->is_null()) return none;
  if (!it->is_object()) throw Error(StatusCode::kBadInput, "field 'metadata' is no object", where);
  return *it;
}

// A version text in any of the two places; before 6 where there is none.
bool is_old(const Json& cfg, const std::string& where) {
  std::string version = text_or_empty(cfg, "sae_lens_version", where);
  if (version.empty()) version = text_or_empty(metadata_of(cfg, where), "sae_lens_version", where);
  int major = 0;
  std::from_chars(version.data(), version.data() + version.size(), major);
  return major < 6;
}

std::string either(const Json& cfg, const char* key, const char* old_key, const std::string& where) {
  const std::string s = text_or_empty(cfg, key, where);
  return s.empty() ? text_or_empty(cfg, old_key, where) : s;
}

// Before 6: an activation function of its own field, and normalisation as a boolean for a time.
void read_old(const Json& cfg, const std::string& where, Parsed& out, std::string& normalize) {
  out.architecture = text_or_empty(cfg, "architecture", where);
  if (out.architecture.empty()) out.architecture = "standard";
  const std::string activation = either(cfg, "activation_fn", "activation_fn_str", where);
  const auto arguments = cfg.find("activation_fn_kwargs");
  if (activation == "topk") {
    out.architecture = "topk";
    if (arguments == cfg.end() || !arguments->is_object()) throw Error(StatusCode::kBadInput, "field 'activation_fn_kwargs' is missing, where topk has its k", where);
    out.config.k = json_int(*arguments, "k", where + ", field 'activation_fn_kwargs'");
  } else if (!activation.empty() && activation != "relu") {
    throw Error(StatusCode::kUnsupported, "field 'activation_fn' is " + in_quotes(activation), where, "read are relu and topk");
  }
  const auto n = cfg.find("normalize_activations");
  if (n != cfg.end() && n->is_boolean()) normalize = n->get<bool>() ? "expected_average_only_in" : "none";
}

int64_t size_field(const Json& cfg, const char* key, const std::string& where) {
  const int64_t n = json_int(cfg, key, where);
  if (n < 1 || n > (int64_t{1} << 40)) throw Error(StatusCode::kBadInput, "field '" + std::string(key) + "' is " + std::to_string(n), where, "it is a size from 1 on");
  return n;
}

bool same(const DictionaryConfig& a, const DictionaryConfig& b) {
  return a.kind == b.kind && a.d_in == b.d_in && a.d_out == b.d_out && a.d_sae == b.d_sae && a.transcoder == b.transcoder && a.skip == b.skip &&
         a.apply_b_dec_to_input == b.apply_b_dec_to_input && a.normalize == b.normalize && a.norm_factor == b.norm_factor &&
         a.rescale_acts_by_decoder_norm == b.rescale_acts_by_decoder_norm && a.k == b.k && a.nested == b.nested && a.hook_in == b.hook_in && a.hook_out == b.hook_out &&
         a.model == b.model && a.weights_hash == b.weights_hash;
}

const char* architecture_name(const DictionaryConfig& c) {
  for (const Architecture& a : kArchitectures)
    if (a.kind == c.kind && a.transcoder == c.transcoder && a.skip == (c.transcoder && c.skip)) return a.name;
  throw Error(StatusCode::kInternal, "SAELens has no architecture for kind '" + c.kind + "'");
}

}  // namespace

Parsed parse(const Json& cfg, const std::string& where) {
  Parsed out;
  DictionaryConfig& c = out.config;
  std::string normalize;
  const bool old = is_old(cfg, where);
  if (old) read_old(cfg, where, out, normalize);
  else out.architecture = json_string(cfg, "architecture", where);
  const Architecture& a = architecture_of(out.architecture, where);
  c.kind = a.kind;
  out.training = c.kind == "batchtopk" || c.kind == "matryoshka";
  c.transcoder = a.transcoder;
  c.skip = a.skip;
  c.d_in = size_field(cfg, "d_in", where);
  c.d_sae = size_field(cfg, "d_sae", where);
  c.d_out = c.transcoder && cfg.contains("d_out") ? size_field(cfg, "d_out", where) : c.d_in;
  c.apply_b_dec_to_input = json_bool(cfg, "apply_b_dec_to_input", true, where);
  if (c.transcoder && c.apply_b_dec_to_input && cfg.contains("apply_b_dec_to_input"))
    throw Error(StatusCode::kBadInput, "field 'apply_b_dec_to_input' is true, and a transcoder's input is no output", where, "set it to false");
  if (c.transcoder) c.apply_b_dec_to_input = false;
  if (normalize.empty()) normalize = json_string(cfg, "normalize_activations", "none", where);
  if (normalize != "none" && normalize != "layer_norm" && normalize != "expected_average_only_in" && normalize != "constant_norm_rescale")
    throw Error(StatusCode::kUnsupported, "field 'normalize_activations' is " + in_quotes(normalize), where, "read are none, layer_norm, expected_average_only_in and constant_norm_rescale");
  if (c.skip && normalize != "none" && normalize != "expected_average_only_in")
    throw Error(StatusCode::kUnsupported, "field 'normalize_activations' is " + in_quotes(normalize) + " beside a skip connection, which SAELens does not normalise", where, "fold it into the weights");
  c.normalize = normalize;                 // the factor of expected_average_only_in is not in the file: 1, as SAELens runs it
  const std::string reshape = json_string(cfg, "reshape_activations", "none", where);
  if (reshape != "none" && reshape != "hook_z") throw Error(StatusCode::kUnsupported, "field 'reshape_activations' is " + in_quotes(reshape), where, "read are none and hook_z");
  c.rescale_acts_by_decoder_norm = (c.kind == "topk" || out.training) && json_bool(cfg, "rescale_acts_by_decoder_norm", out.training, where);
  if (c.k == 0 && c.kind == "topk") c.k = json_int(cfg, "k", where);
  if (out.training) c.k = std::max<int64_t>(1, std::llround(std::clamp(json_float(cfg, "k", 0, where), 0.0, 1e15)));   // a mean: it may be a fraction
  if ((c.kind == "topk" || out.training) && (c.k < 1 || c.k > c.d_sae))
    throw Error(StatusCode::kBadInput, "field 'k' is " + std::to_string(c.k) + " of " + std::to_string(c.d_sae) + " features", where);
  if (const auto widths = cfg.find("matryoshka_widths"); c.kind == "matryoshka" && widths != cfg.end() && widths->is_array() && widths->size() <= 4096)
    for (const Json& w : *widths) {
      if (!w.is_number_integer()) throw Error(StatusCode::kBadInput, "field 'matryoshka_widths' is no list of whole numbers", where);
      if (w.get<int64_t>() < c.d_sae) c.nested.push_back(w.get<int64_t>());
    }
  const Json& metadata = metadata_of(cfg, where);
  const Json& facts = old ? cfg : metadata;
  c.model = text_or_empty(facts, "model_name", where);
  c.hook_in = old ? either(cfg, "hook_name", "hook_point", where) : text_or_empty(facts, "hook_name", where);
  c.hook_out = c.transcoder ? text_or_empty(facts, "hook_name_out", where) : c.hook_in;
  read_own_facts(metadata, where, c);
  c.format = "saelens";
  c.extra = cfg.dump(-1, ' ', false, Json::error_handler_t::replace);
  return out;
}

Json config_to_write(const DictionaryConfig& c) {
  Json cfg = Json::object();
  if (c.format == "saelens") {
    const Result<Json> was = parse_json(c.extra, "the dictionary's own fields");
    if (was && was.value().is_object()) {
      try {
        DictionaryConfig before = parse(was.value(), "the dictionary's own fields").config;
        std::string dtype = json_string(was.value(), "dtype", "float32", "");
        if (dtype.starts_with("torch.")) dtype = dtype.substr(6);
        if (same(before, c) && dtype == c.dtype) return was.value();
        cfg = was.value();
      } catch (const Error&) {
        cfg = Json::object();              // fields that were set by hand since
      }
    }
  }
  Json metadata = cfg.value("metadata", Json::object());
  if (!metadata.is_object()) metadata = Json::object();
  for (const char* key : kMetadataKeys)
    if (cfg.contains(key)) {
      if (!metadata.contains(key)) metadata[key] = cfg[key];
      cfg.erase(key);
    }
  for (const char* key : {"hook_point", "activation_fn_str", "activation_fn", "activation_fn_kwargs", "sae_lens_version", "finetuning_scaling_factor", "topk_threshold_lr", "matryoshka_widths"})
    cfg.erase(key);
  const std::string old_version = text_or_empty(metadata, "sae_lens_version", "");
  if (old_version.empty() || old_version[0] < '6') metadata["sae_lens_version"] = kVersion;
  if (!metadata.contains("sae_lens_training_version")) metadata["sae_lens_training_version"] = nullptr;
  if (!c.model.empty()) metadata["model_name"] = c.model;
  if (!c.hook_in.empty()) metadata["hook_name"] = c.hook_in;
  if (c.transcoder && !c.hook_out.empty()) metadata["hook_name_out"] = c.hook_out;
  metadata["microtome"] = own_facts(c);
  cfg["architecture"] = architecture_name(c);
  cfg["d_in"] = c.d_in;
  cfg["d_sae"] = c.d_sae;
  if (c.transcoder) cfg["d_out"] = c.d_out;
  cfg["dtype"] = c.dtype;
  if (!cfg.contains("device")) cfg["device"] = "cpu";
  cfg["apply_b_dec_to_input"] = c.apply_b_dec_to_input;
  cfg["normalize_activations"] = c.normalize;
  const bool z = !c.transcoder && c.hook_in.ends_with("hook_z");
  cfg["reshape_activations"] = z ? "hook_z" : "none";
  cfg.erase("k");
  cfg.erase("rescale_acts_by_decoder_norm");
  if (c.kind == "topk") {
    cfg["k"] = c.k;
    cfg["rescale_acts_by_decoder_norm"] = c.rescale_acts_by_decoder_norm;
  }
  cfg["metadata"] = metadata;
  return cfg;
}

}  // namespace microtome::dictionary_formats::saelens
