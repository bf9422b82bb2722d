// Any text as config.json: our reader accepts nothing that nlohmann's refuses and gives the same values, and a model
// family reads a configuration or names the field.
#include "core/base/json.h"
#include "core/families/registry.h"
#include "tests/fuzz/fuzz_target.h"

namespace microtome::fuzz {

void repair(std::vector<uint8_t>&, Rng&) {}

namespace {

void compare_readers(std::string_view text) {
  const Result<Json> ours = parse_json(text, "input");
  if (!ours) return require_input_error(ours.status());
  const Json theirs = Json::parse(text, nullptr, /*allow_exceptions=*/false);
  require(!theirs.is_discarded(), "text was accepted that is not JSON");
  require(theirs == ours.value(), "the two readers give different values");
}

void read_as_model(std::string_view text) {
  const Result<Json> config = parse_json(text, "input", {.allow_infinity = true});
  if (!config) return require_input_error(config.status());
  if (!config.value().is_object()) return;
  try {
    const ModelConfig model = families::read_model_config(config.value(), "input").config;
    require(!model.layers.empty(), "a model without layers was accepted");
  } catch (const Error& e) {
    require_input_error(e.status());
  }
}

}  // namespace
}  // namespace microtome::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  microtome::fuzz::compare_readers(text);
  microtome::fuzz::read_as_model(text);
  return 0;
}
