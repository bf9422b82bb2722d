// circuit_svg.h — a circuit as SVG: layers upwards, `input` at the bottom and `logits` on top; heads are circles, whole mixers
// and MLPs boxes; width and colour of an edge say |score| and sign, a coloured dot where it enters says by which input.
// Places come from app/layout (graphviz's dot where built in). Pure; every text is escaped.
#pragma once

#include <string>

#include "app/report/report_index.h"
#include "core/base/artifact.h"

namespace microtome::report {

struct CircuitPicture {
  std::string svg;      // empty where nothing belongs to the circuit
  std::string caption;  // plain text, not escaped: what is drawn, what is left out, how it is laid out
};

struct CircuitLook {
  const ModelFacts* model = nullptr;  // colours of softmax and recurrent layers, where they are known
  bool standalone = false;            // a file of its own: name space and style sheet inside
  size_t most_edges = 300;            // the strongest are drawn
};
CircuitPicture circuit_svg(const Circuit& circuit, const CircuitLook& look);

// The rules that the pictures use, for a page's style sheet; colours are variables of style.cc.
std::string circuit_style();

}  // namespace microtome::report
