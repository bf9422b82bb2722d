#include "analysis/dictionary_training/fold.h"

#include <ATen/ATen.h>

namespace microtome::training {

Dictionary folded(const Dictionary& d, double in, double out) {
  if (in == 1 && out == 1) return d;
  Dictionary r = d;
  r.weights["W_enc"] = d.weight("W_enc") * in;
  for (const char* name : {"W_dec", "b_dec", "W_dec_later"})
    if (d.has(name)) r.weights[name] = d.weight(name) / out;
  if (d.has("W_skip")) r.weights["W_skip"] = d.weight("W_skip") * (in / out);
  return r;
}

}  // namespace microtome::training
