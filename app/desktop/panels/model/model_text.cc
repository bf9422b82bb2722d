// Numbers and shapes of a model as words.
#include <QLocale>
#include <QStringList>

#include "app/desktop/panels/model/model_tree.h"
#include "app/desktop/theme/theme.h"
#include "app/desktop/views/label_text.h"

namespace microtome::desktop {

QString exactCount(qint64 n) { return QLocale(QLocale::English, QLocale::UnitedStates).toString(n); }

QString shortCount(qint64 n) {
  const double size = static_cast<double>(n);
  if (n >= 1'000'000'000) return ModelTree::tr("%1 B").arg(numberText(size / 1e9, 3));
  if (n >= 1'000'000) return ModelTree::tr("%1 M").arg(numberText(size / 1e6, 3));
  if (n >= 10'000) return ModelTree::tr("%1 k").arg(numberText(size / 1e3, 3));
  return exactCount(n);
}

QString headsText(const app::LayerFacts& layer) {
  QString heads = layer.heads == 1 ? ModelTree::tr("1 head") : ModelTree::tr("%1 heads").arg(layer.heads);
  if (layer.kv_heads > 0 && layer.kv_heads != layer.heads) heads += ModelTree::tr(" (%1 key/value)").arg(layer.kv_heads);
  const QString size =
      layer.d_k == layer.d_v ? QString::number(layer.d_k) : QStringLiteral("%1/%2").arg(layer.d_k).arg(layer.d_v);
  return QStringLiteral("%1 × %2").arg(heads, size);
}

QString hookShape(const app::HookFacts& hook) {
  QStringList parts;
  for (size_t i = 0; i < hook.axes.size(); ++i) {
    const int64_t size = i < hook.sizes.size() ? hook.sizes[i] : -1;
    if (size < 0) parts << labelText(hook.axes[i], 40);
    else if (hook.axes[i] == "head") parts << (size == 1 ? ModelTree::tr("1 head") : ModelTree::tr("%1 heads").arg(size));
    else parts << QString::number(size);
  }
  return parts.join(QStringLiteral(" · "));
}

}  // namespace microtome::desktop
