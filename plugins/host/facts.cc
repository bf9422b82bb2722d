// The same facts `microtome inspect --json` prints.
#include "core/base/json.h"
#include "core/model/device.h"
#include "plugins/host/run_state.h"

namespace microtome::plugins {

std::string model_facts(const Model& model) {
  const ModelConfig& c = model.config();
  Json out = {{"name", c.name},
              {"family", c.family},
              {"parameters", parameter_count(c)},
              {"d_model", c.d_model},
              {"vocab_size", c.vocab_size},
              {"context_length", c.context_length},
              {"stored_dtype", c.stored_dtype},
              {"dtype", dtype_text(model.dtype())},
              {"device", model.device().str()},
              {"tied_unembedding", c.tied_unembedding},
              {"layers", Json::array()},
              {"hooks", Json::array()}};
  for (size_t i = 0; i < c.layers.size(); ++i) {
    const MixerInfo& x = model.mixer_info(static_cast<int64_t>(i));
    out["layers"].push_back({{"index", i},
                             {"mixer", x.kind},
                             {"kind", x.recurrent ? "recurrent" : "softmax"},
                             {"heads", x.heads},
                             {"kv_heads", x.kv_heads},
                             {"d_k", x.d_k},
                             {"d_v", x.d_v},
                             {"d_mlp", c.layers[i].channel.d_mlp}});
  }
  for (const HookPoint& p : model.catalogue().points())
    out["hooks"].push_back(
        {{"name", p.name}, {"axes", p.axes}, {"sizes", p.sizes}, {"on_request", p.on_request}, {"note", p.note}});
  return out.dump(-1, ' ', false, Json::error_handler_t::replace);
}

std::string prompt_facts(const PromptPair& pair) {
  Json out = {{"labels", Json::object()}, {"positions", Json::object()}};
  for (const auto& [k, v] : pair.labels) out["labels"][k] = v;
  for (const auto& [k, v] : pair.positions) out["positions"][k] = v;
  return out.dump(-1, ' ', false, Json::error_handler_t::replace);
}

}  // namespace microtome::plugins
