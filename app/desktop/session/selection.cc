#include "app/desktop/session/selection.h"

namespace microtome::desktop {

void Selection::setModel(int slot) {
  if (slot == model_) return;
  model_ = slot;
  Q_EMIT modelChanged(slot);
  Q_EMIT changed();
}

void Selection::setHead(int layer, int head) {
  if (layer == layer_ && head == head_) return;
  layer_ = layer;
  head_ = head;
  Q_EMIT headChanged(layer, head);
  Q_EMIT changed();
}

void Selection::setPosition(int query, int key) {
  if (query == position_ && key == key_) return;
  position_ = query;
  key_ = key;
  Q_EMIT positionChanged(query, key);
  Q_EMIT changed();
}

void Selection::setPrompt(int index) {
  if (index == prompt_) return;
  prompt_ = index;
  Q_EMIT promptChanged(index);
  Q_EMIT changed();
}

void Selection::setRun(qint64 id) {
  if (id == run_) return;
  run_ = id;
  // What was compared was compared with the run before.
  const bool compared = compareRun_ != 0;
  compareRun_ = 0;
  Q_EMIT runChanged(id);
  if (compared) Q_EMIT compareRunChanged(0);
  Q_EMIT changed();
}

void Selection::setCompareRun(qint64 id) {
  if (id == run_) id = 0;
  if (id == compareRun_) return;
  compareRun_ = id;
  Q_EMIT compareRunChanged(id);
  Q_EMIT changed();
}

void Selection::setHookPoint(const QString& name) {
  if (name == hook_) return;
  hook_ = name;
  Q_EMIT hookPointChanged(name);
  Q_EMIT changed();
}

void Selection::setNode(const QString& name) {
  if (name == node_) return;
  node_ = name;
  Q_EMIT nodeChanged(name);
  Q_EMIT changed();
}

void Selection::setEdge(const QString& name) {
  if (name == edge_) return;
  edge_ = name;
  Q_EMIT edgeChanged(name);
  Q_EMIT changed();
}

}  // namespace microtome::desktop
