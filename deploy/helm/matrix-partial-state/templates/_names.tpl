{{/*
The start of every name; short enough for what Kubernetes appends to a StatefulSet's name in a label. What is cut off counts by its
digest: two releases with the same first 31 characters would otherwise have one name.
*/}}
{{- define "matrix-partial-state.fullname" -}}
{{- $name := contains .Chart.Name .Release.Name | ternary .Release.Name (printf "%s-%s" .Release.Name .Chart.Name) -}}
{{- if gt (len $name) 40 -}}
{{ $name | trunc 31 | trimSuffix "-" }}-{{ $name | sha256sum | trunc 8 }}
{{- else -}}
{{ $name }}
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
app.kubernetes.io/instance: {{ .root.Release.Name | quote }}
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
