// column.h — one model's lens on the selected prompt: its table of top tokens.
#pragma once

#include "app/desktop/panels/lens/lens.h"
#include "app/desktop/panels/prompt_run.h"

namespace microtome::desktop {

class LensColumn : public PromptRunPane {
  Q_OBJECT
 public:
  static constexpr int kLast = -2;  // the last position, the output

  LensColumn(Panel& panel, int slot, QWidget* parent);
  TokenMapView* table() const { return table_; }
  const std::shared_ptr<const Lens>& lens() const { return lens_; }
  // By name, so that a run that lacks a number still shows the others.
  void setQuantity(const QString& name);
  // Row and position that the model or prompt lacks: the nearest there is; kLast: the output, the last position.
  void showAt(int row, int position);
  std::pair<int, int> shown() const { return {row_, position_}; }

 Q_SIGNALS:
  void cellPicked(int row, int position);
  void tableFilled();

 private:
  void take();
  TokenMapView* table_;
  std::shared_ptr<const Lens> lens_;
  QString quantity_;
  int row_ = -1, position_ = -1;
};

}  // namespace microtome::desktop
