// Any bytes as the files dictionaries come in: numpy's arrays, circuit-tracer's YAML, SAELens's cfg.json. Arrays lie within the
// file; what is read of a configuration is written and read again the same.
#include "core/dictionary/formats/saelens/config.h"
#include "core/io/npz.h"
#include "core/io/plain_yaml.h"
#include "tests/fuzz/fuzz_target.h"

namespace microtome::fuzz {

void repair(std::vector<uint8_t>&, Rng&) {}

namespace {

void read_arrays(std::span<const uint8_t> bytes) {
  const Result<NpzArrays> file = parse_npz(bytes, "input");
  if (!file) return require_input_error(file.status());
  volatile uint8_t sink = 0;
  size_t copied = 0;
  for (const TensorEntry& t : file.value().tensors) {
    const bool inside = t.bytes == 0 || (t.data >= bytes.data() && t.data < bytes.data() + bytes.size());
    if (!inside) copied += t.bytes;
    require(!inside || t.bytes == 0 || t.bytes <= static_cast<size_t>(bytes.data() + bytes.size() - t.data), "an array leaves the file");
    size_t count = 1;
    for (const int64_t d : t.shape) count = d == 0 ? 0 : count * static_cast<size_t>(d);
    require(count * dtype_size(t.dtype) == t.bytes, "shape and bytes differ");
    for (size_t i = 0; i < t.bytes; ++i) sink = static_cast<uint8_t>(sink + t.data[i]);
  }
  require(copied <= bytes.size(), "the copies are larger than the file");
}

void read_configuration(const Json& cfg) {
  using namespace dictionary_formats;
  if (!cfg.is_object()) return;
  try {
    DictionaryConfig c = saelens::parse(cfg, "input").config;
    require(saelens::parse(cfg, "input").config.extra == c.extra, "reading twice gives two results");
    if (c.kind == "batchtopk" || c.kind == "matryoshka") c.kind = "jumprelu", c.rescale_acts_by_decoder_norm = false;
    c.model += "x";                        // changed: the known fields are written anew
    const DictionaryConfig back = saelens::parse(saelens::config_to_write(c), "written").config;
    const bool same = back.kind == c.kind && back.d_in == c.d_in && back.d_sae == c.d_sae && back.d_out == c.d_out && back.k == c.k && back.transcoder == c.transcoder &&
                      back.skip == c.skip && back.normalize == c.normalize && back.hook_in == c.hook_in && back.model == c.model && back.weights_hash == c.weights_hash &&
                      back.rescale_acts_by_decoder_norm == c.rescale_acts_by_decoder_norm && back.apply_b_dec_to_input == c.apply_b_dec_to_input;
    require(same, "the configuration changed on the way");
  } catch (const Error& e) {
    require_input_error(e.status());
  }
}

void read_yaml(std::string_view text) {
  const Result<Json> yaml = parse_plain_yaml(text, "input");
  if (!yaml) return require_input_error(yaml.status());
  const std::string written = plain_yaml(yaml.value());
  const Result<Json> back = parse_plain_yaml(written, "written");
  require(back.is_ok(), "what was written cannot be read: " + back.status().text());
  require(back.value() == yaml.value(), "the data changed on the way");
}

}  // namespace
}  // namespace microtome::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace microtome;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  fuzz::read_arrays({data, size});
  fuzz::read_yaml(text);
  const Result<Json> json = parse_json(text, "input");
  if (!json) fuzz::require_input_error(json.status());
  else fuzz::read_configuration(json.value());
  return 0;
}
