// Any text as a vocabulary file of RWKV: what is accepted finds each entry by its piece, and gives back the bytes it was given.
#include "core/io/tokenizer/rwkv_tokenizer.h"
#include "tests/fuzz/fuzz_target.h"

namespace microtome::fuzz {

void repair(std::vector<uint8_t>&, Rng&) {}

}  // namespace microtome::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace microtome;
  try {
    const tok::RwkvTokenizer t({reinterpret_cast<const char*>(data), size}, "input");
    std::string all;
    int64_t seen = 0;
    for (int64_t id = 1; id < t.vocab_size() && seen < 64; ++id) {
      const std::string bytes = t.decode_bytes({id});
      if (bytes.empty()) continue;
      ++seen;
      fuzz::require(t.id_of(t.piece(id)) == id, "an entry is not found by its piece");
      fuzz::require(t.encode_bytes(bytes) == std::vector<int64_t>{id}, "an entry is not the longest match of its own bytes");
      t.display(id);
      all += bytes;
    }
    // Entries in a row may match otherwise, or end where no entry goes on.
    for (const std::string& text : {all, std::string("a\xC3\xA9\xF0\x9F\x98\x80 b")}) {
      try {
        const std::vector<int64_t> ids = t.encode_bytes(text);
        fuzz::require(t.decode_bytes(ids) == text, "bytes out are not bytes in");
        t.decode(ids, true);
      } catch (const Error& e) {
        fuzz::require_input_error(e.status());
      }
      try {
        const Encoding e = t.encode(text, true);
        fuzz::require(e.ids.size() == e.pieces.size() && e.ids.size() == e.offsets.size(), "lengths differ");
      } catch (const Error& e) {
        fuzz::require_input_error(e.status());
      }
    }
  } catch (const Error& e) {
    fuzz::require_input_error(e.status());
  }
  return 0;
}
