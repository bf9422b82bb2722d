// Any text as tokenizer.json: what is accepted encodes and decodes without leaving its vocabulary.
#include "core/io/tokenizer.h"
#include "tests/fuzz/fuzz_target.h"

namespace microtome::fuzz {

void repair(std::vector<uint8_t>&, Rng&) {}

}  // namespace microtome::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace microtome;
  const auto tokenizer = Tokenizer::parse({reinterpret_cast<const char*>(data), size}, "input");
  if (!tokenizer) {
    fuzz::require_input_error(tokenizer.status());
    return 0;
  }
  const Tokenizer& t = *tokenizer.value();
  for (const char* text : {"", " ", "Hello  world's 123\n\n", "\xC3\xA9\xE2\x82\xAC\xF0\x9F\x98\x80 a\xCC\x81",
                           "<|endoftext|><s>x</s>", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"}) {
    try {
      const Encoding e = t.encode(text);
      fuzz::require(e.ids.size() == e.pieces.size() && e.ids.size() == e.offsets.size(), "lengths differ");
      for (const int64_t id : e.ids) fuzz::require(id >= 0 && id < t.vocab_size(), "an id is outside the vocabulary");
      t.decode(e.ids);
      t.decode(e.ids, true);
      if (!e.ids.empty()) t.display(e.ids.front());
    } catch (const Error& e) {
      fuzz::require_input_error(e.status());
    }
  }
  return 0;
}
