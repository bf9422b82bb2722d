// The hook points of a model, from its configuration alone.
#include <set>

#include "core/families/registry.h"
#include "core/mixers/registry.h"
#include "core/model/channel_mixer.h"
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
  auto norm = [&](const std::string& name, const NormConfig& config) {
    if (config.kind == NormConfig::Kind::kNone) return;
    out.add({name + ".hook_scale", {"batch", "pos", "one"}, {-1, -1, 1}, false, "the normaliser's divisor"});
    wide(name + ".hook_normalized", d, "d_model");
  };
  wide("hook_embed", d, "d_model");
  if (c.learned_positions) wide("hook_pos_embed", d, "d_model");
  if (c.token_types) wide("hook_token_type_embed", d, "d_model");
  if (c.embed_norm) norm("embed.ln", *c.embed_norm);
  for (size_t i = 0; i < c.layers.size(); ++i) {
    const LayerConfig& l = c.layers[i];
    std::string b = "blocks." + std::to_string(i) + ".";
    MixerInfo info = mixer_info_of(l, d);
    wide(b + "hook_resid_pre", d, "d_model");
    out.add({b + "hook_mixer_in", {"batch", "pos", "d_model"}, {-1, -1, d}, true, "what the token mixer reads, before the norm"});
    norm(b + "ln1", l.norm1);
    for (const std::string& role : info.inputs)
      out.add({b + "hook_" + role + "_input", {"batch", "pos", "head", "d_model"}, {-1, -1, info.heads, d}, true,
               "one a query head, before the norm"});
    for (HookPoint p : info.points) {
      p.name = b + "attn." + p.name;
      out.add(std::move(p));
    }
    if (l.post1) norm(b + "ln1_post", *l.post1);
    wide(b + "hook_attn_out", d, "d_model");
    if (l.channel.d_mlp) {
      if (l.wiring != Wiring::kParallel) wide(b + "hook_resid_mid", d, "d_model");
      wide(b + "hook_mlp_in", d, "d_model", true);
      norm(b + "ln2", l.norm2);
      for (HookPoint p : channel_points(l.channel, d)) {
        p.name = b + "mlp." + p.name;
        out.add(std::move(p));
      }
      if (l.post2) norm(b + "ln2_post", *l.post2);
      wide(b + "hook_mlp_out", d, "d_model");
    }
    wide(b + "hook_resid_post", d, "d_model");
  }
  norm("ln_final", c.final_norm);
  wide("unembed.hook_in", d, "d_model");
  wide("unembed.hook_out", c.vocab_size, "vocab");
  return out;
}

int64_t parameter_count(const ModelConfig& c) {
  const Family* family = families::builtin().find(c.family);
  std::set<std::string> whole;                         // sources counted in full: parts of them, or twice, add nothing
  int64_t total = 0;
  for (const TensorBinding& b : family->bind(c, Stored())) {
    if (b.optional || whole.count(b.source)) continue;
    int64_t n = 1;
    for (int64_t size : b.source_shape) n *= size;
    total += n;
    whole.insert(b.source);
  }
  return total;
}

}  // namespace microtome
