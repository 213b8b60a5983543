{{/* The service's settings that are no secrets and the same for each role, as its YAML file. */}}
{{- define "matrix-partial-state.settings" -}}
{{- $files := "/etc/matrix-partial-state" -}}
{{- $own := dict
    "server_name" .Values.serverName
    "listen" (printf "%s:7790" .Values.bindAddress)
    "drain_grace_s" .Values.lifecycle.drainSeconds
    "max_connection_age_s" .Values.lifecycle.maxConnectionAgeSeconds
    "data_dir" "/data" -}}
{{- if .Values.metrics.enabled }}{{ $_ := set $own "metrics_listen" (printf "%s:7791" .Values.bindAddress) }}{{ end -}}
{{- if .Values.signing.key }}{{ $_ := set $own "signing_key_path" (printf "%s/signing.key" $files) }}{{ end -}}
{{- with .Values.signing.target }}{{ $_ := set $own "signing_target" . }}{{ end -}}
{{- if .Values.signing.caCertificates }}{{ $_ := set $own "signing_ca_file" (printf "%s/signing-ca.crt" $files) }}{{ end -}}
{{- if .Values.signing.token }}{{ $_ := set $own "signing_token_file" (printf "%s/signing-token" $files) }}{{ end -}}
{{- if .Values.tls.secret -}}
{{- $_ := set $own "tls_cert_file" (printf "%s/tls.crt" $files) -}}
{{- $_ := set $own "tls_key_file" (printf "%s/tls.key" $files) -}}
{{- $_ := set $own "health_listen" (printf "%s:7792" .Values.bindAddress) -}}
{{- if .Values.tls.requireClientCertificate }}{{ $_ := set $own "tls_client_ca_file" (printf "%s/ca.crt" $files) }}{{ end -}}
{{- end -}}
{{- if .Values.tokens }}{{ $_ := set $own "token_file" (printf "%s/tokens" $files) }}{{ end -}}
{{- if .Values.allowInsecure }}{{ $_ := set $own "allow_insecure" true }}{{ end -}}
{{- if .Values.federation.caCertificates }}{{ $_ := set $own "federation_ca_file" (printf "%s/federation-ca.crt" $files) }}{{ end -}}
{{ merge $own .Values.settings | toYaml }}
{{- end }}

{{/* The settings that are secrets or differ by role, as a container's environment. Takes {root, role}. */}}
{{- define "matrix-partial-state.environment" -}}
{{- $root := .root -}}
{{- $store := .root.Values.store -}}
- name: PARTIALSTATE_CONFIG
  value: /etc/matrix-partial-state/config.yaml
- name: PARTIALSTATE_ROLE
  value: {{ .role }}
{{- if eq $store.kind "bundled" }}
{{ include "matrix-partial-state.storePassword" (dict "root" $root "given" $store.bundled.password) }}
- name: PARTIALSTATE_STORE_URL
  value: redis://:$(STORE_PASSWORD)@{{ include "matrix-partial-state.storeName" $root }}:6379/0
{{- else if eq $store.kind "external" }}
{{- if $store.external.password }}
{{ include "matrix-partial-state.storePassword" (dict "root" $root "given" $store.external.password) }}
- name: PARTIALSTATE_STORE_URL
  value: {{ $store.external.url.value | quote }}
{{- else }}
- name: PARTIALSTATE_STORE_URL
  valueFrom:
    secretKeyRef:
      {{- include "matrix-partial-state.secretKeyRef" (dict "root" $root "given" $store.external.url "key" "store-url") | nindent 6 }}
{{- end }}
{{- end }}
{{- end }}

{{/* The store's password as a variable. Takes {root, given}. */}}
{{- define "matrix-partial-state.storePassword" -}}
- name: STORE_PASSWORD
  valueFrom:
    secretKeyRef:
      {{- include "matrix-partial-state.secretKeyRef" (dict "root" .root "given" .given "key" "store-password") | nindent 6 }}
{{- end }}

{{/* The files of /etc/matrix-partial-state: one projected volume, so that each of them follows its source. */}}
{{- define "matrix-partial-state.files" -}}
- configMap:
    name: {{ include "matrix-partial-state.fullname" . }}
    items:
      - key: config.yaml
        path: config.yaml
{{- with .Values.signing.key }}
{{ include "matrix-partial-state.secretFile" (dict "root" $ "given" . "key" "signing.key" "path" "signing.key") }}
{{- end }}
{{- with .Values.signing.caCertificates }}
{{ include "matrix-partial-state.secretFile" (dict "root" $ "given" . "key" "signing-ca.crt" "path" "signing-ca.crt") }}
{{- end }}
{{- with .Values.signing.token }}
{{ include "matrix-partial-state.secretFile" (dict "root" $ "given" . "key" "signing-token" "path" "signing-token") }}
{{- end }}
{{- with .Values.tokens }}
{{ include "matrix-partial-state.secretFile" (dict "root" $ "given" . "key" "tokens" "path" "tokens") }}
{{- end }}
{{- with .Values.federation.caCertificates }}
{{ include "matrix-partial-state.secretFile" (dict "root" $ "given" . "key" "federation-ca.crt" "path" "federation-ca.crt") }}
{{- end }}
{{- if eq .Values.store.kind "external" }}
{{- with .Values.store.external.caCertificates }}
{{ include "matrix-partial-state.secretFile" (dict "root" $ "given" . "key" "store-ca.crt" "path" "store-ca.crt") }}
{{- end }}
{{- end }}
{{- with .Values.tls.secret }}
- secret:
    name: {{ . | quote }}
    items:
      - key: tls.crt
        path: tls.crt
      - key: tls.key
        path: tls.key
      {{- if $.Values.tls.requireClientCertificate }}
      - key: ca.crt
        path: ca.crt
      {{- end }}
{{- end }}
{{- end }}
