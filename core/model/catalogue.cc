// The hook points of a model, from its configuration alone.
#include "core/families/registry.h"
#include "core/mixers/registry.h"
#include "core/model/model.h"

namespace microtome {

MixerInfo mixer_info_of(const LayerConfig& layer, int64_t d_model) {
  const MixerKind* kind = mixers::builtin().find(layer.mixer);
  if (!kind) throw Error(StatusCode::kInternal, "mixer '" + layer.mixer + "' is not registered");
  return kind->info(layer.mixer_params, d_model);
}

HookCatalogue build_catalogue(const ModelConfig& c) {
  HookCatalogue out;
  int64_t d = c.d_model;
  auto wide = [&](const std::string& name, int64_t width, const char* axis, bool on_request = false) {
    out.add({name, {"batch", "pos", axis}, {-1, -1, width}, on_request, ""});
  };
  auto norm = [&](const std::string& name) {
    out.add({name + ".hook_scale", {"batch", "pos", "one"}, {-1, -1, 1}, false, "the normaliser's divisor"});
    wide(name + ".hook_normalized", d, "d_model");
  };
  wide("hook_embed", d, "d_model");
  if (c.learned_positions) wide("hook_pos_embed", d, "d_model");
  if (c.embed_norm) norm("embed.ln");
  for (size_t i = 0; i < c.layers.size(); ++i) {
    const LayerConfig& l = c.layers[i];
    std::string b = "blocks." + std::to_string(i) + ".";
    MixerInfo info = mixer_info_of(l, d);
    wide(b + "hook_resid_pre", d, "d_model");
    norm(b + "ln1");
    for (const std::string& role : info.inputs)
      out.add({b + "hook_" + role + "_input", {"batch", "pos", "head", "d_model"}, {-1, -1, info.heads, d}, true,
               "one a query head, before the norm"});
    for (HookPoint p : info.points) {
      p.name = b + "attn." + p.name;
      out.add(std::move(p));
    }
    wide(b + "hook_attn_out", d, "d_model");
    wide(b + "hook_resid_mid", d, "d_model");
    wide(b + "hook_mlp_in", d, "d_model", true);
    norm(b + "ln2");
    wide(b + "mlp.hook_in", d, "d_model");
    wide(b + "mlp.hook_pre", l.channel.d_mlp, "d_mlp");
    if (l.channel.gated) wide(b + "mlp.hook_pre_linear", l.channel.d_mlp, "d_mlp");
    wide(b + "mlp.hook_post", l.channel.d_mlp, "d_mlp");
    if (l.channel.receptance) wide(b + "mlp.hook_receptance", d, "d_model");
    wide(b + "hook_mlp_out", d, "d_model");
    wide(b + "hook_resid_post", d, "d_model");
  }
  norm("ln_final");
  wide("unembed.hook_in", d, "d_model");
  wide("unembed.hook_out", c.vocab_size, "vocab");
  return out;
}

int64_t parameter_count(const ModelConfig& c) {
  const Family* family = families::builtin().find(c.family);
  int64_t total = 0;
  for (const TensorBinding& b : family->bind(c, [](const std::string&) { return true; })) {
    if (b.optional) continue;
    int64_t n = 1;
    for (size_t k = 0; k < b.source_shape.size(); ++k) n *= b.source_shape[k];
    if (b.length >= 0) n = n / b.source_shape[b.transpose ? 1 : 0] * b.length;
    total += n;
  }
  return total;
}

}  // namespace microtome
