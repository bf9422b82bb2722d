// circuit_text.h — circuits in the forms of other programs: DOT (graphviz), GraphML (Gephi, networkx, yEd), CSV (a table of
// edges). Names are escaped for the form, whatever they hold. Pure functions; the MIB form is in core/io/circuit_file.h.
#pragma once

#include <string>

#include "core/base/artifact.h"

namespace microtome::report {

// What belongs to the circuit, or with all_edges also the other edges (dotted) and their nodes. Layers go upwards, groups
// are clusters.
std::string circuit_dot(const Circuit& circuit, bool all_edges = false);
// Nodes with kind, layer, head, score, group; edges with port, score, in_graph. The same choice of edges.
std::string circuit_graphml(const Circuit& circuit, bool all_edges = false);
// from,to,port,score,in_graph: every edge the circuit has a score for, in order.
std::string circuit_csv(const Circuit& circuit);

}  // namespace microtome::report
