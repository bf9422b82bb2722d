// decoders.h — the "decoder" of tokenizer.json: pieces back to text.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "core/base/json.h"
#include "core/io/tokenizer/aligned_text.h"

namespace microtome::tok {

// Immutable; thread-safe.
class Decoder {
 public:
  virtual ~Decoder() = default;
  // Rewrites the pieces in place; what is left is joined without a space.
  virtual void apply(std::vector<std::string>& pieces, const Budget& budget) const = 0;
};

// ByteLevel, Replace, ByteFallback, Fuse, Strip, Metaspace, WordPiece, Sequence. Null gives null. Throws Error(kUnsupported)
// naming any other type, Error(kBadInput) for a wrong field.
std::unique_ptr<Decoder> make_decoder(const Json& spec, const std::string& where);

}  // namespace microtome::tok
