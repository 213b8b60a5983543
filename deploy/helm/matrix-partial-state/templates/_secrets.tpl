{{/* Where a secret is kept: the one of the operator, or the chart's own. Takes {root, given, key}; yields name and key. */}}
{{- define "matrix-partial-state.secretKeyRef" -}}
{{- if .given.secret -}}
name: {{ .given.secret | quote }}
key: {{ .given.secretKey | quote }}
{{- else -}}
name: {{ include "matrix-partial-state.fullname" .root }}
key: {{ .key }}
{{- end -}}
{{- end }}

{{/* A secret as one file of a projected volume. Takes {root, given, key, path}. */}}
{{- define "matrix-partial-state.secretFile" -}}
{{- $ref := include "matrix-partial-state.secretKeyRef" . | fromYaml -}}
- secret:
    name: {{ $ref.name | quote }}
    items:
      - key: {{ $ref.key | quote }}
        path: {{ .path }}
{{- end }}

{{/* What the chart's own Secret holds: the secrets that are given by value. */}}
{{- define "matrix-partial-state.ownSecrets" -}}
{{- $own := dict -}}
{{- with .Values.signing.key.value }}{{ $_ := set $own "signing.key" . }}{{ end -}}
{{- with .Values.signing.caCertificates.value }}{{ $_ := set $own "signing-ca.crt" . }}{{ end -}}
{{- with .Values.signing.token.value }}{{ $_ := set $own "signing-token" . }}{{ end -}}
{{- with .Values.tokens.value }}{{ $_ := set $own "tokens" . }}{{ end -}}
{{- with .Values.federation.caCertificates.value }}{{ $_ := set $own "federation-ca.crt" . }}{{ end -}}
{{- if eq .Values.store.kind "bundled" -}}
{{- with .Values.store.bundled.password.value }}{{ $_ := set $own "store-password" . }}{{ end -}}
{{- else if eq .Values.store.kind "external" -}}
{{- with .Values.store.external -}}
{{- if .password.value }}{{ $_ := set $own "store-password" .password.value }}{{ end -}}
{{- if and .url.value (not .password) }}{{ $_ := set $own "store-url" .url.value }}{{ end -}}
{{- if .caCertificates.value }}{{ $_ := set $own "store-ca.crt" .caCertificates.value }}{{ end -}}
{{- end -}}
{{- end -}}
{{ toYaml $own }}
{{- end }}
