{{/* The start of every name; short enough for what Kubernetes appends to a StatefulSet's name in a label. */}}
{{- define "matrix-partial-state.fullname" -}}
{{- if contains .Chart.Name .Release.Name -}}
{{ .Release.Name | trunc 40 | trimSuffix "-" }}
{{- else -}}
{{ printf "%s-%s" .Release.Name .Chart.Name | trunc 40 | trimSuffix "-" }}
{{- end -}}
{{- end }}

{{- define "matrix-partial-state.storeName" -}}
{{ include "matrix-partial-state.fullname" . }}-store
{{- end }}

{{- define "matrix-partial-state.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{ .Values.serviceAccount.name | default (include "matrix-partial-state.fullname" .) }}
{{- else -}}
{{ .Values.serviceAccount.name | default "default" }}
{{- end -}}
{{- end }}

{{/* The labels of an object. Takes {root, component}. */}}
{{- define "matrix-partial-state.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
app.kubernetes.io/part-of: matrix-partial-state
{{ include "matrix-partial-state.selector" . }}
{{- end }}

{{/* What selects the pods of a component, or of the release without one. Takes {root, component}. */}}
{{- define "matrix-partial-state.selector" -}}
app.kubernetes.io/name: {{ .root.Chart.Name }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
{{- with .component }}
app.kubernetes.io/component: {{ . }}
{{- end }}
{{- end }}

{{/* The roles of the pods, separated by a space; the first answers frontends. */}}
{{- define "matrix-partial-state.roles" -}}
{{ eq .Values.mode "split" | ternary "api resync" "all" }}
{{- end }}

{{/* Takes {image, tag}: the image's values, and the tag where they have none. */}}
{{- define "matrix-partial-state.image" -}}
{{- if .image.digest -}}
{{ .image.repository }}@{{ .image.digest }}
{{- else -}}
{{ .image.repository }}:{{ .image.tag | default .tag }}
{{- end -}}
{{- end }}
