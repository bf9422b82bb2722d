#include "app/desktop/panels/lens/column.h"

#include <algorithm>

#include "app/desktop/theme/theme.h"
#include "app/desktop/views/label_text.h"

namespace microtome::desktop {

LensColumn::LensColumn(Panel& panel, int slot, QWidget* parent)
    : PromptRunPane(panel.session(), QStringLiteral("logit_lens"), slot, parent), table_(new TokenMapView(this)) {
  table_->setObjectName(QStringLiteral("lens_table"));
  setContent(table_);
  panel.adopt(table_);
  connect(this, &PromptRunPane::arrived, this, &LensColumn::take);
  connect(table_, &TokenMapView::cellClicked, this,
          [this](qint64 r, qint64 c) { Q_EMIT cellPicked(static_cast<int>(r), static_cast<int>(c)); });
}

void LensColumn::take() {
  lens_ = Lens::read(run()->run(), run()->model(), run()->pair());
  row_ = position_ = -1;
  if (!lens_) {
    table_->clear();
    if (run()->run())
      setQuestion(tr("Nothing to show"),
                  tr("What is stored of this run does not fit the model and the prompt: run it again from Run."), {});
    Q_EMIT tableFilled();
    return;
  }
  const RunRecord& record = run()->run()->record;
  table_->setTitle(tr("Logit lens of %1").arg(labelText(run()->model()->facts().name, 80)));
  table_->setCommand(QString::fromStdString(record.command.empty() ? record.spec.command : record.command));
  table_->setSource(record.id, QStringLiteral("logit_lens"));
  table_->setData(lens_->table());
  setQuantity(quantity_);
  Q_EMIT tableFilled();
}

void LensColumn::setQuantity(const QString& name) {
  quantity_ = name;
  const auto& all = table_->data().quantities;
  const auto at = std::find_if(all.begin(), all.end(), [&](const TokenQuantity& q) { return q.name == name; });
  table_->setColour(at != all.end() ? static_cast<int>(at - all.begin()) : all.empty() ? -1 : 0);
}

void LensColumn::showAt(int row, int position) {
  if (!lens_) return;
  const auto last = static_cast<int>(lens_->tokens()) - 1, output = static_cast<int>(lens_->layers());
  row_ = row == kLast ? output : std::clamp(row, 0, std::max(0, output - 1));
  position_ = position == kLast ? last : std::clamp(position, 0, last);
  table_->setSelectedCell(row_, position_);
}

}  // namespace microtome::desktop
