// Gemma Scope: params.npz, and Gemma Scope 2: params.safetensors with config.json. Read only.
#include "core/dictionary/formats/format.h"

#include <ATen/ATen.h>

#include "core/base/quote.h"
#include "core/dictionary/formats/files.h"

namespace microtome::dictionary_formats {

void register_gemma_scope(Registry& registry);

namespace {

namespace fs = std::filesystem;
constexpr const char* kFirst = "params.npz";
constexpr const char* kSecond = "params.safetensors";

bool is_npz_file(const std::string& path) {
  std::error_code ec;
  return fs::path(path).extension() == ".npz" && fs::is_regular_file(path, ec);
}

bool looks_like(const std::string& path) {
  return is_npz_file(path) || holds(path, kFirst) || holds(path, kSecond);
}

// What was read is said by the folders on the way alone: ".../gemma-scope-2b-pt-res/layer_20/width_16k/average_l0_71".
// The nearest folder that says something counts.
struct Place {
  int64_t layer = -1;
  std::string site;                        // "res", "mlp", "att", "transcoder"; "": not said
};
Place place_of(const fs::path& folder) {
  Place out;
  std::error_code ec;
  fs::path p = fs::absolute(folder, ec).lexically_normal();
  for (int up = 0; up < 6 && p.has_relative_path(); ++up, p = p.parent_path()) {
    const std::string name = p.filename().string();
    if (const size_t at = name.find("layer_"); out.layer < 0 && at != std::string::npos) {
      const size_t begin = at + 6, end = std::min(name.find_first_not_of("0123456789", begin), name.size());
      if (end > begin && end - begin < 6) out.layer = std::stoll(name.substr(begin, end - begin));
    }
    if (!out.site.empty()) continue;
    if (name.find("transcoder") != std::string::npos) out.site = "transcoder";
    else if (name.ends_with("-res") || name.starts_with("resid_post")) out.site = "res";
    else if (name.ends_with("-mlp") || name.starts_with("mlp_out")) out.site = "mlp";
    else if (name.ends_with("-att") || name.starts_with("attn_out")) out.site = "att";
  }
  return out;
}

void set_hooks(DictionaryConfig& c, const Place& place, bool second) {
  if (place.layer < 0) return;
  if (c.transcoder) {
    // The first ones read the residual divided by its RMS before the norm's gain, the second ones what the MLP reads.
    c.hook_in = in_block(place.layer, second ? "mlp.hook_in" : "ln2.hook_normalized");
    c.hook_out = in_block(place.layer, "hook_mlp_out");
  } else if (!place.site.empty()) {
    c.hook_in = c.hook_out = in_block(place.layer, place.site == "res" ? "hook_resid_post" : place.site == "mlp" ? "hook_mlp_out" : "attn.hook_z");
  }
}

Dictionary read_params(TensorSource source, const Place& place, bool second) {
  Dictionary d;
  DictionaryConfig& c = d.config;
  c.kind = "jumprelu";
  c.apply_b_dec_to_input = false;
  const char* enc = source.has("w_enc") ? "w_enc" : "W_enc";
  const char* dec = source.has("w_dec") ? "w_dec" : "W_dec";
  const int64_t d_in = source.size(enc, 0, 2), d_sae = source.size(enc, 1, 2), d_out = source.size(dec, 1, 2);
  d.weights["W_enc"] = source.take(enc, {d_in, d_sae});
  d.weights["W_dec"] = source.take(dec, {d_sae, d_out});
  d.weights["b_enc"] = source.take("b_enc", {d_sae});
  d.weights["b_dec"] = source.take("b_dec", {d_out});
  d.weights["threshold"] = source.take("threshold", {d_sae});
  if ((c.skip = source.has("affine_skip_connection"))) d.weights["W_skip"] = source.take("affine_skip_connection", {d_in, d_out}).t();
  c.transcoder = c.skip || d_in != d_out || place.site == "transcoder";
  source.done("a dictionary of Gemma Scope");
  set_hooks(c, place, second);
  c.format = "gemma_scope";
  finish(d, source.where());
  return d;
}

Dictionary read_first(const fs::path& folder) { return read_params(TensorSource::npz((folder / kFirst).string()), place_of(folder), false); }

Dictionary read_second(const fs::path& folder) {
  const std::string where = (folder / "config.json").string();
  std::error_code ec;
  Json config = Json::object();
  if (fs::is_regular_file(folder / "config.json", ec)) config = read_config(folder / "config.json");
  const std::string architecture = json_string(config, "architecture", "jump_relu", where);
  if (architecture != "jump_relu") throw Error(StatusCode::kUnsupported, "field 'architecture' is " + in_quotes(architecture), where, "read is jump_relu");
  Dictionary d = read_params(TensorSource::safetensors((folder / kSecond).string()), place_of(folder), true);
  d.config.model = text_or_empty(config, "model_name", where);
  d.config.extra = config.dump(-1, ' ', false, Json::error_handler_t::replace);
  return d;
}

DictionarySet read(const std::string& path) {
  if (is_npz_file(path)) {
    DictionarySet set;
    set.name = name_of(fs::path(path).parent_path().empty() ? fs::path(".") : fs::path(path).parent_path());
    set.format = "gemma_scope";
    set.members.push_back(read_params(TensorSource::npz(path), place_of(fs::path(path).parent_path()), false));
    set.members[0].config.name = set.name;
    sort_members(set);
    return set;
  }
  if (holds(path, kFirst)) return read_folders(path, kFirst, "gemma_scope", read_first);
  return read_folders(path, kSecond, "gemma_scope", read_second);
}

}  // namespace

void register_gemma_scope(Registry& registry) {
  registry.add({"gemma_scope", "Gemma Scope (params.npz, or params.safetensors)", "huggingface.co/google/gemma-scope (arXiv 2408.05147)", looks_like, read, nullptr, nullptr});
}

}  // namespace microtome::dictionary_formats
