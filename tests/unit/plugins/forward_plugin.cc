// forward_probe — runs the first prompt as its parameters say and hands everything back, so that the test can compare
// it with what the model itself gives.
#include <microtome_plugin.h>

#include <cstdlib>
#include <string>
#include <vector>

namespace {

const microtome_host* host;

int32_t create(void*, microtome_run*, void**, microtome_error*) { return MICROTOME_OK; }
int64_t item_count(void*) { return 1; }

int32_t hand_over(microtome_run* run, const char* name, const microtome_tensor& t, const char* const* axes,
                  microtome_error* error) {
  microtome_array a{};
  a.name = name;
  a.type = t.dtype.code == MICROTOME_INT ? MICROTOME_INT64 : t.dtype.bits == 64 ? MICROTOME_FLOAT64 : MICROTOME_FLOAT32;
  a.axis_count = t.ndim;
  a.axes = axes;
  a.shape = t.shape;
  a.data = static_cast<const char*>(t.data) + t.byte_offset;
  return host->add_array(run, &a, error);
}

int32_t run_item(void*, microtome_run* run, int64_t, microtome_error* error) {
  microtome_prompt p{};
  p.version = MICROTOME_PLUGIN_VERSION;
  p.size = sizeof p;
  int32_t code = host->prompt(run, 0, &p, error);
  if (code != MICROTOME_OK) return code;
  std::string capture = host->param_text(run, "capture"), interventions = host->param_text(run, "interventions");
  std::string source_hook = host->param_text(run, "source_hook");
  int64_t at = host->param_int(run, "at");

  microtome_forward request{};
  request.version = MICROTOME_PLUGIN_VERSION;
  request.size = sizeof request;
  request.tokens = p.corrupted;
  request.rows = 1;
  request.length = p.clean_count;
  // A source: one hook point of the corrupted prompt, left on the device as it is.
  const microtome_forward_result* other = nullptr;
  microtome_source source{};
  if (!source_hook.empty()) {
    microtome_capture c = {source_hook.c_str(), nullptr, 0};
    request.captures = &c;
    request.capture_count = 1;
    request.logits = MICROTOME_LOGITS_NONE;
    request.on_device = 1;
    code = host->forward(run, &request, &other, error);
    if (code != MICROTOME_OK) return code;
    if (other->logits.data || other->captured_count != 1) return MICROTOME_FAILED;
    source = {"other", other->captured[0].tensor};
    request.sources = &source;
    request.source_count = 1;
  }
  microtome_capture c = {capture.c_str(), &at, at == 99 ? 0 : 1};
  request.tokens = p.clean;
  request.captures = &c;
  request.capture_count = capture.empty() ? 0 : 1;
  request.logits = at == 99 ? MICROTOME_LOGITS_ALL : MICROTOME_LOGITS_AT;
  request.logit_positions = &at;
  request.logit_position_count = 1;
  request.on_device = 0;
  request.interventions = interventions.empty() ? nullptr : interventions.c_str();
  if (host->param_bool(run, "forget_size")) request.size = 0;
  const microtome_forward_result* result = nullptr;
  code = host->forward(run, &request, &result, error);
  if (code != MICROTOME_OK) return code;
  if (result->version != MICROTOME_PLUGIN_VERSION || result->size < sizeof *result) return MICROTOME_FAILED;
  const char* axes[] = {"batch", "pos", "vocab"};
  code = hand_over(run, "logits", result->logits, axes, error);
  for (int64_t i = 0; i < result->captured_count && code == MICROTOME_OK; ++i)
    code = hand_over(run, result->captured[i].name, result->captured[i].tensor, result->captured[i].axes, error);
  host->free_forward(run, result);
  // `other` is left to the program, as the header allows.

  microtome_model m{};
  m.version = MICROTOME_PLUGIN_VERSION;
  m.size = sizeof m;
  if (code == MICROTOME_OK) code = host->model(run, &m, error);
  if (code != MICROTOME_OK) return code;
  int64_t facts[] = {m.layers,
                     m.d_model,
                     m.vocab_size,
                     m.device.type,
                     host->single_token(run, " Mary"),
                     static_cast<int64_t>(host->item_seed(run, 3) >> 1),
                     p.answer_count,
                     p.wrong_count};
  int64_t shape[] = {8};
  const char* fact_axes[] = {"fact"};
  microtome_array a = {"facts", MICROTOME_INT64, 1, fact_axes, shape, facts, nullptr, nullptr};
  std::string json = std::string(m.json) + p.json + host->token_text(run, p.clean[1]) + host->token_text(run, -4);
  std::vector<int64_t> bytes(json.begin(), json.end());
  code = host->add_array(run, &a, error);
  shape[0] = static_cast<int64_t>(bytes.size());
  a.name = "text";
  a.data = bytes.data();
  return code == MICROTOME_OK ? host->add_array(run, &a, error) : code;
}

int32_t finish(void*, microtome_run*, microtome_error*) { return MICROTOME_OK; }

const char* const kParams = R"({"params": [
  {"name": "capture", "type": "string", "default": "", "affects": "answer", "help": "Hook pattern."},
  {"name": "at", "type": "int", "default": 99, "affects": "answer", "help": "Position; 99: all."},
  {"name": "interventions", "type": "string", "default": "", "affects": "answer", "help": "JSON."},
  {"name": "source_hook", "type": "string", "default": "", "affects": "answer", "help": "Taken from the corrupted prompt."},
  {"name": "forget_size", "type": "bool", "default": false, "affects": "answer", "help": "Leaves the request's size 0."}
]})";
const microtome_analysis kAnalysis = {
    MICROTOME_PLUGIN_VERSION, sizeof(microtome_analysis), "forward_probe", 3, "Forward probe", "What a forward gives.",
    nullptr, kParams, nullptr, 0, MICROTOME_PROMPTS_PAIRS, 1, nullptr, create, item_count, nullptr, run_item, finish, nullptr};
const microtome_analysis* const kAnalyses[] = {&kAnalysis};
const microtome_plugin kPlugin = {
    MICROTOME_PLUGIN_VERSION, sizeof(microtome_plugin), "forward probe", "0.1", kAnalyses, 1, nullptr, 0, nullptr, 0};

}  // namespace

const microtome_plugin* microtome_plugin_entry(const microtome_host* h) {
  host = h;
  return &kPlugin;
}
